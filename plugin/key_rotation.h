// Turns cached keys by a number of positions (a context shift), with llama.cpp's own rope.
#pragma once

#include <memory>

#include "llama_access.h"

namespace deltastore {

class KeyRotation {
public:
    // `block`: size of the Hadamard blocks that the cached keys were rotated with.
    KeyRotation(const llama_context& context, int block);

    // keys: [rows][key_dim], Hadamard-rotated before and after. Throws CodedError(NATIVE_FAILURE).
    void rotate(int layer, float* keys, int rows, int key_dim, int32_t delta);

private:
    const llama_context& context_;
    int block_;
    ggml_backend_ptr backend_;
};

}  // namespace deltastore
