// The floats that llama.cpp's graph hands in and wants back.
#pragma once

#include <cstddef>
#include <cstdint>

namespace deltastore {

// Rows of floats that need not be contiguous: strides in bytes.
struct RowsView {
    const float* data;
    size_t token_stride;
    size_t head_stride;

    const float* row(int token, int head) const {
        return reinterpret_cast<const float*>(reinterpret_cast<const uint8_t*>(data) + token * token_stride + head * head_stride);
    }
};

struct AttentionInput {
    RowsView queries;  // [query head][token][key_dim]
    float* output;     // [token][query head][value_dim]
    size_t output_token_stride;
    size_t output_head_stride;
    float scale;
    float soft_cap;                // 0: none
    const float* slopes = nullptr;      // [query head] ALiBi, or null
    const float* sink_scores = nullptr; // [query head] logits of the attention sinks, or null

    float* output_row(int token, int query_head) const {
        return reinterpret_cast<float*>(reinterpret_cast<uint8_t*>(output) + token * output_token_stride + query_head * output_head_stride);
    }
};

}  // namespace deltastore
