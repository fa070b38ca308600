#pragma once

#include <cstddef>

#include "stream.h"

namespace cuda_mock {

/** `rows` of `width` bytes, their beginnings `to_pitch` and `from_pitch` apart. */
struct Copy {
    void* to;
    size_t to_pitch;
    const void* from;
    size_t from_pitch;
    size_t width, rows;
};

/** Enqueues it. Host memory that isn't pinned is read, and written, before this returns. */
void enqueue_copy(Stream& stream, const Copy& copy);
void enqueue_fill(Stream& stream, void* to, int value, size_t bytes);

}  // namespace cuda_mock
