// A group's queries and running softmax, in one thread's scratch memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/kernels.h"

namespace deltastore {

// `count`: queries, which are tokens x query heads of the group.
struct GroupBuffers {
    float* query;  // [count][key_dim]; this and the next seven are QueryBlock's
    int8_t* codes;
    float* code_scales;
    int32_t* code_sums;
    float* centre_scores;
    int32_t* positions;
    int32_t* first_seen;
    float* slopes;
    float* run;    // maxima [count], sums [count], outputs [count][value_dim]
    float* total;  // the same, over the runs so far
    void* kernel;  // attention_scratch_bytes()

    static size_t bytes(const HeadShape& shape, int count) {
        GroupBuffers unused;
        return unused.place(nullptr, shape, count);
    }

    // Sets all of them in `memory`, 64-byte aligned, and tells how much it takes.
    size_t place(uint8_t* memory, const HeadShape& shape, int count) {
        size_t used = 0;
        const auto take = [&](auto*& pointer, size_t elements) {
            pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(memory + used);
            used = (used + elements * sizeof(*pointer) + 63) / 64 * 64;
        };
        const size_t n = count;
        take(query, n * shape.key_dim);
        take(codes, n * shape.key_dim);
        take(code_scales, n * shape.key_groups());
        take(code_sums, n * shape.key_groups());
        take(centre_scores, n);
        take(positions, n);
        take(first_seen, n);
        take(slopes, n);
        take(run, n * (shape.value_dim + 2));
        take(total, n * (shape.value_dim + 2));
        kernel = memory + used;
        return used + attention_scratch_bytes(shape);
    }
};

}  // namespace deltastore
