#include "part_rows.h"

#include <algorithm>
#include <cmath>

#include "kernels/codec.h"

namespace deltastore {

int rows_as_they_are(const StoredPage& page) {
    const PageRef& reference = page.reference;
    if (reference.pinned()) return reference.count;
    if (format_info(reference.format).coded || reference.gapped()) return 0;
    return std::clamp(kFirstRows - reference.position, 0, int(reference.count));
}

std::vector<int32_t> archived_positions(const StoredPage& page) {
    const PageRef& reference = page.reference;
    const uint8_t* gaps = reference.gapped() ? page.bytes.data() + page.layout.gaps + reference.begin : nullptr;
    std::vector<int32_t> positions(reference.count, reference.position);
    for (int r = 1; r < reference.count; r++) positions[r] = positions[r - 1] + 1 + (gaps ? gaps[r] : 0);
    positions.erase(positions.begin(), positions.begin() + rows_as_they_are(page));
    return positions;
}

// Keys and values in a packing context lie rotated, in every format. The rotation is its own inverse.
static void rotate(const StoredHead& head, const HeadShape& shape, const Kernels& kernels, std::vector<float>& keys, std::vector<float>& values) {
    if (!head.rotated()) return;
    kernels.rotate(keys.data(), int(keys.size()) / shape.key_dim, shape.key_dim, key_block(shape.key_dim));
    if (!shape.latent) kernels.rotate(values.data(), int(values.size()) / shape.value_dim, shape.value_dim, value_block(shape.value_dim));
}

static constexpr float kMostHalf = 65504;

static void require_finite(const std::vector<float>& rows) {
    for (float x : rows)
        if (!(std::abs(x) <= 1e9f)) throw CodedError("STATE_DAMAGED", "Rows of the state are not finite");
}

// What damaged bytes decode to can be of any size; pages hold finite numbers.
static void clamp(std::vector<float>& rows) {
    for (float& x : rows) x = std::isfinite(x) ? std::clamp(x, -kMostHalf, kMostHalf) : 0;
}

RowRuns rows_of(const StoredHead& head, const StoredPart& part, const Kernels& kernels) {
    RowRuns runs;
    for (int table = 0; table < head.tables(); table++)
        for (const StoredPage& page : part.tables[table]) {
            if (archived_rows(page) == 0) continue;
            const HeadShape& shape = head.shapes()[table];
            const PageRef& reference = page.reference;
            RowRun run{table, archived_positions(page), {}, {}};
            run.keys.resize(size_t(run.rows()) * shape.key_dim);
            run.values.resize(size_t(run.rows()) * shape.stored_value_dim());
            read_rows(page.bytes.data(), page.layout, reference.format, shape, head.centre(part.tag(reference), table),
                      reference.begin + rows_as_they_are(page), run.rows(), run.keys.data(), shape.latent ? nullptr : run.values.data());
            require_finite(run.keys);
            require_finite(run.values);
            rotate(head, shape, kernels, run.keys, run.values);
            runs.push_back(std::move(run));
        }
    return runs;
}

void put_rows(const StoredHead& head, const RowRuns& runs, const Kernels& kernels, StoredPart& part) {
    auto run = runs.begin();
    for (int table = 0; table < head.tables(); table++)
        for (StoredPage& page : part.tables[table]) {
            if (archived_rows(page) == 0) continue;
            const HeadShape& shape = head.shapes()[table];
            const PageRef& reference = page.reference;
            const int first = reference.begin + rows_as_they_are(page), rows = run->rows();
            std::vector<float> keys = run->keys, values = run->values;
            run++;
            clamp(keys);
            clamp(values);
            rotate(head, shape, kernels, keys, values);
            uint8_t* bytes = page.bytes.data();
            int refined[kMostRefined];
            const int count = refined_rows(bytes, page.layout);
            for (int i = 0; i < count; i++) refined[i] = bytes[page.layout.refined_rows + i] - 1;
            std::fill_n(bytes + page.layout.refined_rows, page.layout.refined, uint8_t(0));
            write_keys(kernels, bytes, page.layout, reference.format, shape, head.centre(part.tag(reference), table), first, rows, keys.data());
            if (shape.latent) continue;
            write_values(kernels, bytes, page.layout, reference.format, shape, first, rows, values.data());
            if (count > 0) refine_rows(kernels, bytes, page.layout, reference.format, shape, refined, count, values.data(), first);
        }
}

}  // namespace deltastore
