#pragma once

#include <cstddef>

namespace cuda_mock {

/** What the device says of itself. The environment can change the first three. */
struct Properties {
    int devices;          // CUDA_MOCK_DEVICES: 0 or 1
    int capability;       // CUDA_MOCK_CAPABILITY: 80 is 8.0
    int multiprocessors;  // CUDA_MOCK_MULTIPROCESSORS
    size_t shared_bytes = 48 << 10, shared_bytes_opt_in = 163 << 10;
    const char* name = "Mock GPU";
};

const Properties& properties();

}  // namespace cuda_mock
