// Rows that codecs of an archive turn to bytes and back.
#pragma once

#include <cmath>
#include <string>

#include "archive/row_codec.h"
#include "format/half.h"
#include "snapshot/parts.h"
#include "codec_inputs.h"

namespace deltastore {

inline const std::vector<HeadShape> kShapes = {{64, 64}, {80, 128}, {128, 80}, {64, 64, /*latent*/ true}};

// Channels differ in size and in their mean, as keys' do.
inline std::vector<float> uneven_rows(int count, int dim, Random& random) {
    std::vector<float> rows = random.gaussians(size_t(count) * dim);
    for (size_t i = 0; i < rows.size(); i++) rows[i] = rows[i] * float(1 + i % dim % 5) + float(i % dim % 3);
    return rows;
}

inline RowRun run_of(int table, int count, std::vector<float> keys, std::vector<float> values) {
    RowRun run{table, {}, std::move(keys), std::move(values)};
    for (int r = 0; r < count; r++) run.positions.push_back(r);
    return run;
}

// Of each table.
inline RowRuns make_runs(int count, Random& random, const std::vector<HeadShape>& shapes = kShapes) {
    RowRuns runs;
    for (int table = 0; table < int(shapes.size()); table++) {
        const HeadShape& shape = shapes[table];
        runs.push_back(run_of(table, count, uneven_rows(count, shape.key_dim, random), uneven_rows(count, shape.stored_value_dim(), random)));
    }
    return runs;
}

inline Bytes encoded(const RowCodec& codec, const RowRuns& runs, bool fine = false) {
    Bytes bytes;
    Writer writer = writer_to(bytes);
    codec.encode(runs, fine, writer);
    return bytes;
}

inline RowRuns decoded(const RowCodec& codec, const Bytes& bytes, RowRuns runs) {
    for (RowRun& run : runs) {
        run.keys.assign(run.keys.size(), NAN);
        run.values.assign(run.values.size(), NAN);
    }
    SpanReader span({bytes.data(), bytes.size()});
    Reader reader = span.reader();
    codec.decode(runs, reader);
    span.finish();
    return runs;
}

// Calls each(row before, row after, size of a row).
template <typename Each>
void for_rows(const RowRuns& before, const RowRuns& after, Each each) {
    const auto go_through = [&](const std::vector<float>& from, const std::vector<float>& to, size_t rows) {
        CHECK_EQUAL(from.size(), to.size());
        const size_t dim = from.size() / rows;
        for (size_t begin = 0; begin < from.size(); begin += dim) each(&from[begin], &to[begin], int(dim));
    };
    CHECK_EQUAL(before.size(), after.size());
    for (size_t i = 0; i < before.size(); i++) {
        go_through(before[i].keys, after[i].keys, before[i].positions.size());
        go_through(before[i].values, after[i].values, before[i].positions.size());
    }
}

// Squared, of the squared length.
inline double relative_error(const float* before, const float* after, int dim) {
    double error = 0, length = 0;
    for (int d = 0; d < dim; d++) {
        error += double(before[d] - after[d]) * (before[d] - after[d]);
        length += double(before[d]) * before[d];
    }
    return error / length;
}

// The mean of all rows'.
inline double mean_error(const RowCodec& codec, const RowRuns& runs) {
    double sum = 0;
    int rows = 0;
    for_rows(runs, decoded(codec, encoded(codec, runs), runs), [&](const float* before, const float* after, int dim) {
        sum += relative_error(before, after, dim);
        rows++;
    });
    return sum / rows;
}

inline void check_same_halves(const RowRuns& before, const RowRuns& after) {
    for_rows(before, after, [](const float* from, const float* to, int dim) {
        for (int d = 0; d < dim; d++) CHECK_EQUAL(to[d], half_to_float(float_to_half(from[d])));
    });
}

inline void check_finite(const RowRuns& runs) {
    for_rows(runs, runs, [](const float* row, const float*, int dim) {
        for (int d = 0; d < dim; d++) CHECK(std::isfinite(row[d]));
    });
}

// The code that it throws, or an empty string.
template <typename Body>
std::string code_of(Body body) {
    try {
        body();
    } catch (const CodedError& error) {
        return error.code();
    }
    return "";
}

// Blocks and tails: of every count of rows, of some tables, of several runs a table. most_error: of a row.
inline void check_all_counts(const RowCodec& codec, double most_error) {
    Random random(check::state().seed);
    for (int count = 1; count <= kPageRows; count++) {
        RowRuns runs = make_runs(count, random);
        runs.erase(runs.begin() + count % 4);
        const RowRuns more = make_runs(random.between(1, kPageRows), random);
        runs.push_back(more.back());
        for_rows(runs, decoded(codec, encoded(codec, runs), runs),
                 [&](const float* before, const float* after, int dim) { CHECK_AT_MOST(relative_error(before, after, dim), most_error); });
        check_same_halves(runs, decoded(codec, encoded(codec, runs, /*fine*/ true), runs));
        CHECK(encoded(codec, runs) == encoded(codec, runs));
    }
}

// Cut bytes are refused. Flipped ones are, or give rows of some value: the store tells them by their hash.
inline void check_damaged(const RowCodec& codec) {
    Random random(check::state().seed);
    for (const bool fine : {false, true}) {
        const RowRuns runs = make_runs(random.between(1, 20), random);
        const Bytes bytes = encoded(codec, runs, fine);
        for (int round = 0; round < 1000 && check::clean(); round++) {
            const Bytes cut(bytes.begin(), bytes.begin() + random.between(0, int(bytes.size()) - 1));
            CHECK_CODE(code_of([&] { decoded(codec, cut, runs); }), "STATE_DAMAGED");
            Bytes flipped = bytes;
            for (int flips = random.between(1, 4); flips > 0; flips--) flipped[random.next() % bytes.size()] ^= uint8_t(random.between(1, 255));
            const std::string code = code_of([&] { check_finite(decoded(codec, flipped, runs)); });
            if (!code.empty()) CHECK_CODE(code, "STATE_DAMAGED");
        }
    }
}

}  // namespace deltastore
