#pragma once

#include <cstddef>
#include <cstdint>

// The device's memory. Its addresses lie in a range of their own that can't be read or written: the bytes lie elsewhere, and only kernels and
// copies find them. So host code that takes a device pointer for one of its own ends with a segmentation fault.
// Addresses are never given out twice, fresh bytes are 0xFF (NaN), and a page without memory follows each allocation.

namespace cuda_mock {

constexpr size_t kPage = 4096, kGranule = size_t(2) << 20;

/** 0 if the device's memory is used up. */
uint64_t allocate_device(size_t bytes);
/** False if nothing was allocated there. */
bool free_device(uint64_t address);

/** Addresses without memory, and memory for them by granules, as the driver's virtual memory has it. */
uint64_t reserve_addresses(size_t bytes);
bool map_memory(uint64_t address, size_t bytes);
void unmap_memory(uint64_t address, size_t bytes);

/** Host memory that kernels may touch. */
void pin_host(const void* memory, size_t bytes);
bool unpin_host(const void* memory);
bool is_pinned(const void* memory);

bool is_device(uint64_t address);
/** Where the bytes lie; null if not all of them are allocated or pinned. */
void* device_bytes(uint64_t address, size_t bytes);

size_t total_memory();
size_t free_memory();

}  // namespace cuda_mock
