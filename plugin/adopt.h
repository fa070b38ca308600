// Puts a packed memory under a context that llama.cpp has just made, or says why it can't be done.
#pragma once

#include "packed_memory.h"

namespace deltastore {

struct AdoptOptions {
    uint32_t context_cells;  // tokens of all sequences together
    uint32_t batch_tokens;   // of one llama_decode call, at most
    bool whole_windows;      // sliding-window layers keep all rows (llama.cpp's `swa_full`)
    bool allows_gpu_layers;
    int kept_states;  // most kept prefixes, where each has windows or recurrent states
};

// Throws CodedError: MODEL_UNSUPPORTED, GPU_LAYERS_UNSUPPORTED, FLASH_ATTENTION_REQUIRED or NATIVE_FAILURE. After an error the
// context may only be freed.
void adopt_context(llama_context& context, CacheOptions options, const AdoptOptions& how);

// The packed memory of a context, or nullptr.
PackedMemory* packed_memory(llama_context* context);

}  // namespace deltastore
