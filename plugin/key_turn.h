// Turns cached keys by a number of positions (a context shift), with llama.cpp's own rope.
#pragma once

#include <memory>

#include "llama_access.h"

namespace deltastore {

class KeyTurn {
public:
    explicit KeyTurn(const llama_context& context) : context_(context) {}

    // keys: [rows][key_dim], as the graph made them. Throws CodedError(NATIVE_FAILURE).
    void turn(int layer, float* keys, int rows, int key_dim, int32_t delta);

private:
    const llama_context& context_;
    ggml_backend_ptr backend_;
};

}  // namespace deltastore
