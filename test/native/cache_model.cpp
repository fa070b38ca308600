#include "cache_model.h"

#include <algorithm>

namespace deltastore {

std::vector<float> CacheModel::row(uint32_t id, int table, bool key) const {
    const HeadShape& shape = cache.table().shape(table);
    static const std::vector<float> gaussians = Random(7).gaussians(1 << 16);
    const size_t dim = key ? shape.key_dim : shape.value_dim;
    const auto start = gaussians.begin() + Random(salt_ + id * 1000003ull + table * 2 + key).next() % (gaussians.size() - dim);
    std::vector<float> values(start, start + dim);
    if (key)
        for (size_t d = 0; d < values.size(); d += 8) values[d] += 2.0f;
    return values;
}

Failure CacheModel::reserve(const std::vector<std::vector<Token>>& ubatches) {
    const Failure failure = cache.reserve(ubatches);
    if (failure != Failure::none) return failure;
    ids_.clear();
    tokens_ = ubatches;
    for (const auto& tokens : ubatches) {
        ids_.emplace_back();
        for (const Token& token : tokens) {
            sequences[token.sequence].push_back({token.position, next_id, 0, {}, {}});
            if (extents[token.sequence].evicted) extents[token.sequence].end = token.position + 1;
            ids_.back().push_back(next_id++);
        }
    }
    return failure;
}

void CacheModel::write(int index, int threads) {
    cache.start(index, threads);
    const auto& layers = cache.options().layers;
    const size_t count = ids_[index].size();
    for (int layer = 0; layer < int(layers.size()); layer++) {
        for (const bool key : {true, false}) {
            const int heads = layers[layer].kv_heads, dim = key ? layers[layer].head.key_dim : layers[layer].head.value_dim;
            std::vector<float> rows(count * heads * dim);
            for (size_t t = 0; t < count; t++)
                for (int head = 0; head < heads; head++) {
                    const std::vector<float> values = row(ids_[index][t], cache.layers().table(layer, head), key);
                    std::copy(values.begin(), values.end(), rows.begin() + (t * heads + head) * dim);
                }
            const RowsView view{rows.data(), heads * dim * sizeof(float), dim * sizeof(float)};
            in_parallel(threads, [&](int thread) {
                if (key) cache.write_keys(layer, view, thread, threads);
                else cache.write_values(layer, view, thread, threads);
            });
        }
    }
}

void CacheModel::finish(int index) {
    cache.finish();
    for (const Token& token : tokens_[index]) forget(token.sequence, 0, cache.options().sliding_window.first_kept(token.position + 1, cache.table().sinks(token.sequence)));
}

Failure CacheModel::add(int sequence, int count, int threads) {
    std::vector<Token> tokens;
    for (int i = 0; i < count; i++) tokens.push_back({sequence, next_position(sequence) + i});
    const Failure failure = reserve({tokens});
    if (failure != Failure::none) return failure;
    write(0, threads);
    finish(0);
    return failure;
}

void CacheModel::abandon(const std::vector<std::vector<Token>>& ubatches, size_t started) {
    cache.abandon();
    for (size_t i = ubatches.size(); i-- > started;)
        for (const Token& token : ubatches[i])
            forget(token.sequence, token.position, INT32_MAX);
}

void CacheModel::shift(int sequence, int32_t from, int32_t to, int32_t delta) {
    cache.shift(sequence, from, to, delta);
    for (ModelToken& token : sequences[sequence]) {
        if (token.position < from || token.position >= to) continue;
        token.position += delta;
        token.pending += delta;
    }
    ModelExtent& extent = extents[sequence];
    const ModelExtent before = extent;
    if (before.begin >= from && before.begin < to) extent.begin += delta;
    if (before.end > from && before.end <= to) extent.end += delta;
}

Failure CacheModel::apply_shifts() {
    const Failure failure = cache.apply_shifts([&](int layer, float* keys, int rows, int32_t delta) {
        const int dim = cache.options().layers[layer].head.key_dim;
        for (int r = 0; r < rows; r++) rotate_key(layer, keys + size_t(r) * dim, dim, delta);
    });
    if (failure != Failure::none) return failure;
    for (auto& tokens : sequences)
        for (ModelToken& token : tokens) {
            if (token.pending != 0) token.turns.push_back(token.pending);
            token.pending = 0;
        }
    return failure;
}

Failure CacheModel::fork(int source, int target, int32_t from, int32_t to) {
    const Failure failure = cache.fork(source, target, from, to);
    if (source == target || failure != Failure::none) return failure;
    sequences[target] = sequences[source];
    extents[target] = extents[source];
    forget(target, 0, from);
    forget(target, to, INT32_MAX);
    return failure;
}

std::vector<int32_t> CacheModel::positions_of(int index, const PageRef& reference) const {
    int32_t positions[kPageRows];
    cache.table().row_positions(index, reference, positions);
    return {positions, positions + reference.count};
}

void CacheModel::forget(int sequence, int32_t from, int32_t to) {
    auto& tokens = sequences[sequence];
    tokens.erase(std::remove_if(tokens.begin(), tokens.end(),
                                [&](const ModelToken& token) { return token.position >= from && token.position < to; }),
                 tokens.end());
    ModelExtent& extent = extents[sequence];
    if (!extent.evicted) return;
    if (to >= extent.end) extent.end = std::min(extent.end, from);
    else if (from <= extent.begin) extent.begin = std::max(extent.begin, to);
    if (extent.end <= extent.begin) extent = {};
}

}  // namespace deltastore
