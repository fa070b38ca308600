// How the processor does work on rows: by the codec, in the calling thread.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <utility>

#include "host_place.h"
#include "kernels/codec.h"

namespace deltastore {

namespace {

struct Worker {
    const HostPlace& place;
    const Kernels& kernels;
    float* scratch;

    void read(const Rows& rows, const HeadShape& shape, const float* centre, float* keys, float* values) const {
        read_rows(place.at(rows.page), *rows.layout, rows.format, shape, centre, rows.first, rows.count, keys, values);
    }
    void write(const Rows& rows, const HeadShape& shape, const float* centre, const float* keys) const {
        write_keys(kernels, place.at(rows.page), *rows.layout, rows.format, shape, centre, rows.first, rows.count, keys);
    }
    void write(const Rows& rows, const HeadShape& shape, const float* values) const {
        write_values(kernels, place.at(rows.page), *rows.layout, rows.format, shape, rows.first, rows.count, values);
    }

    void operator()(const ReadRows& work) const { read(work.source, work.shape, work.centre, work.keys, work.values); }

    void operator()(const PackRows& work) const {
        read(work.source, work.shape, nullptr, scratch, nullptr);
        write(work.target, work.shape, work.centre, scratch);
        if (work.shape.latent) return;
        read(work.source, work.shape, nullptr, nullptr, scratch);
        unrefine_rows(place.at(work.target.page), *work.target.layout, work.shape, work.target.first);  // rows that were erased
        write(work.target, work.shape, scratch);
        if (work.target.layout->refined > 0) refine(work, scratch);
    }

    // values: [count][value_dim], those just packed.
    void refine(const PackRows& work, const float* values) const {
        const Rows& rows = work.target;
        uint8_t* page = place.at(rows.page);
        const int dim = work.shape.value_dim;
        const int due = int(std::lround(double(rows.layout->refined) * (rows.first + rows.count) / kPageRows));
        const int room = std::min(due - refined_rows(page, *rows.layout), rows.count);
        if (room <= 0) return;
        std::pair<float, int> scores[kPageRows];  // and the row
        for (int r = 0; r < rows.count; r++) {
            float energy = 0;
            for (int d = 0; d < dim; d++) energy += values[r * dim + d] * values[r * dim + d];
            scores[r] = {work.received[r] * std::sqrt(energy), r};
        }
        std::partial_sort(scores, scores + room, scores + rows.count, std::greater<>());
        int chosen[kMostRefined];
        for (int i = 0; i < room; i++) chosen[i] = rows.first + scores[i].second;
        refine_rows(kernels, page, *rows.layout, rows.format, work.shape, chosen, room, values, rows.first);
    }

    void operator()(const RepackRows& work) const {
        float *keys = scratch, *values = scratch + size_t(work.source.count) * work.shape.key_dim;
        read(work.source, work.shape, work.source_centre, keys, values);
        write(work.target, work.shape, work.target_centre, keys);
        write(work.target, work.shape, values);
        if (!work.gapped) return;
        const uint8_t* source = place.at(work.source.page);
        uint8_t* target = place.at(work.target.page);
        std::memcpy(target + work.target.layout->gaps, source + work.source.layout->gaps, kPageRows);
        std::memcpy(target + work.target.layout->received, source + work.source.layout->received, kPageRows);
    }

    void operator()(const CopyRows& work) const {
        const uint8_t* source = place.at(work.source.page);
        uint8_t* target = place.at(work.target.page);
        const PageLayout& layout = *work.target.layout;
        for (const CopyRows::Row* row = work.rows; row != work.rows + work.count; row++) {
            copy_row(work.source.format, work.shape, source, *work.source.layout, row->from, target, layout, row->to);
            if (!work.gapped) continue;
            target[layout.gaps + row->to] = row->gap;
            target[layout.received + row->to] = row->received;
        }
    }

    void operator()(const TurnKeys& work) const {
        const int dim = work.shape.key_dim, count = work.rows.count;
        const auto rotate = [&] {
            if (work.rotated) kernels.rotate(scratch, count, dim, key_block(dim));
        };
        read(work.rows, work.shape, work.centre, scratch, nullptr);
        rotate();
        work.turn(scratch, count);
        rotate();
        write(work.rows, work.shape, work.centre, scratch);
    }

    void operator()(const MeasureValues& work) const {
        const Rows& rows = work.source;
        for (int r = 0; r < rows.count; r++)
            work.norms[r] = value_norm(rows.format, work.shape, place.at(rows.page), *rows.layout, rows.first + r);
    }
};

}  // namespace

void HostPlace::run(const Work& work, float* scratch) {
    std::visit(Worker{*this, kernels_, scratch}, work);
}

}  // namespace deltastore
