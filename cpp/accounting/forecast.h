// What sequences hold once their tokens are evaluated, computed from layouts alone: no context is needed.
#pragma once

#include <cstddef>
#include <vector>

#include "pages/layers.h"
#include "tiers/options.h"

namespace deltastore {

// What of a model its memory depends on.
struct ModelShape {
    std::vector<LayerShape> attention;  // layers that attend to all tokens
    std::vector<LayerShape> windows;    // layers with a sliding window, with rows of their own
    SlidingWindow sliding;              // of these
    size_t state_bytes = 0;             // recurrent states of one sequence
};

struct Load {
    int sequences = 1;
    size_t tokens = 0;   // of each sequence
    int batch = 512;     // most tokens that are evaluated in one go
    size_t shared = 0;   // first tokens that sequences of a group share; they were evaluated by themselves
    int groups = 1;      // of sequences, where they share
};

// Of llama.cpp's own 16-bit cache.
size_t stock_bytes(const ModelShape& model, const Load& load);

// Bytes of a packed cache, and the parts that pages in use have in it. What is left is recurrent states, bookkeeping, and room in slabs.
struct Forecast {
    size_t resident = 0;
    size_t sinks = 0, window = 0, packed = 0;
};

// A tier that evicts has just done so. Slabs are as full as can be, which those of a cache in use may not be.
Forecast forecast(const ModelShape& model, const Tier& tier, const Load& load);

}  // namespace deltastore
