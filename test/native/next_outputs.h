// What a sequence gives next: two that hold the same rows give the same bits.
#pragma once

#include "cache_model.h"

namespace deltastore {

// Appends the same tokens and attends to everything before them.
inline std::vector<float> next_outputs(CacheModel& model, int sequence, Random random) {
    std::vector<Token> tokens;
    for (int i = 0; i < 20; i++) tokens.push_back({sequence, model.next_position(sequence) + i});
    CHECK(model.reserve({tokens}) == Failure::none);
    model.write(0, 2);
    std::vector<float> outputs;
    const auto& layers = model.cache.options().layers;
    for (int layer = 0; layer < int(layers.size()); layer++) {
        const LayerShape& shape = layers[layer];
        const std::vector<float> queries = random.gaussians(tokens.size() * shape.query_heads * shape.head.key_dim, 0.2f);
        std::vector<float> output(tokens.size() * shape.query_heads * shape.head.value_dim);
        AttentionInput input{};
        input.queries = {queries.data(), shape.head.key_dim * sizeof(float), tokens.size() * shape.head.key_dim * sizeof(float)};
        input.output = output.data();
        input.output_token_stride = shape.query_heads * shape.head.value_dim * sizeof(float);
        input.output_head_stride = shape.head.value_dim * sizeof(float);
        input.scale = 1;
        in_parallel(2, [&](int thread) { model.cache.attend(layer, input, thread, 2); });
        outputs.insert(outputs.end(), output.begin(), output.end());
    }
    model.finish(0);
    return outputs;
}

// Adds a row to a sequence that may hold anything, and attends to all before it. For one layer with one head of 64, and positions up to 5,000.
inline void go_on_anyhow(Cache& cache, int sequence, Random& random) {
    const int32_t next = cache.last_position(sequence) + 1;
    if (next > 5000 || cache.reserve({{{sequence, next}}}) != Failure::none) return;
    cache.start(0, 1);
    const std::vector<float> rows = random.gaussians(3 * 64);
    const RowsView view{rows.data(), 64 * sizeof(float), 64 * sizeof(float)};
    cache.write_keys(0, view, 0, 1);
    cache.write_values(0, view, 0, 1);
    std::vector<float> output(64);
    AttentionInput input{view, output.data(), 64 * sizeof(float), 64 * sizeof(float), 0.1f, 0.0f};
    cache.attend(0, input, 0, 1);
    cache.finish();
}

}  // namespace deltastore
