// What rows are made with, besides their tokens: rows of another origin are other rows.
#pragma once

#include <cstdint>

#include "byte_io.h"

namespace deltastore {

// How keys are turned by their positions, as llama.cpp's context has it.
struct Positions {
    float rope_freq_base = 0;
    float rope_freq_scale = 0;
    float yarn_ext_factor = 0;
    float yarn_attn_factor = 0;
    float yarn_beta_fast = 0;
    float yarn_beta_slow = 0;
    uint32_t n_ctx_orig_yarn = 0;
    uint32_t long_factors = 0;  // whether the context is so long that it takes the model's rope factors for long ones (LongRoPE)

    // Of these but the last, and a model's fingerprint: what snapshots had before there were origins.
    uint64_t fingerprint(uint64_t model) const;
};

struct Origin {
    uint64_t model = 0;  // hash of its weights and of the metadata that it was loaded with; 0 for one that nobody has told
    Positions positions;
    uint64_t adapters = 0;  // hash of them (LoRA) and their scales; 0 for none

    // Stands for all of it.
    uint64_t value() const;
    // {u64 model, f32 each and two u32 of positions, u64 adapters, u64 value}
    void write(Writer& writer) const;
    // Throws CodedError STATE_DAMAGED.
    static Origin read(Reader& reader);
    // Throws CodedError STATE_MODEL_MISMATCH with all that `stored` has otherwise.
    void require(const Origin& stored) const;
};

// Of states from before there were origins. Throws CodedError STATE_MODEL_MISMATCH if they have another one.
void require_fingerprint(uint64_t fingerprint, Reader& reader);

}  // namespace deltastore
