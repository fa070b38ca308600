// The buffer type that makes ggml's CPU backend call us for the two operations on a packed cache, on its own threads.
#pragma once

#include <vector>

#include "cache.h"
#include "ggml-backend-impl.h"
#include "ggml.h"

struct ggml_tensor;

namespace deltastore {

struct RuntimeLibraries {
    const char* llama;  // path of the loaded library
    const char* cpu;
};

// Registers the buffer type with the loaded ggml CPU backend, once a process. Throws CodedError(RUNTIME_UNSUPPORTED).
RuntimeLibraries install_graph_ops();

// What the tensors of one packed memory stand for. ggml sees addresses inside `region`, which nothing ever reads.
struct PackedBuffer {
    struct Role {
        const ggml_tensor* tensor;
        int layer;
        bool values;
    };
    Cache* cache = nullptr;
    std::vector<Role> roles;
    std::vector<std::vector<float>> slopes;  // [layer][query head] ALiBi; empty without
    std::vector<uint8_t> region;

    const Role* role_of(const ggml_tensor* tensor) const;
};

// A ggml buffer around `buffer`, which must outlive it.
ggml_backend_buffer_t make_packed_buffer(PackedBuffer& buffer);

// True if every node of the graph that reads a packed tensor is one of ours, in the shape that we implement.
bool graph_is_served(ggml_cgraph* graph, std::string& reason);

// ALiBi slopes (Press et al. 2021, arXiv 2108.12409), as ggml's attention computes them.
std::vector<float> alibi_slopes(int heads, float max_bias);

}  // namespace deltastore
