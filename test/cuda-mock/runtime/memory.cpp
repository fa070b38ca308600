#include <cstdlib>
#include <cstring>

#include "../device/copy.h"
#include "../device/errors.h"
#include "../device/memory.h"
#include "../device/stream.h"

using namespace cuda_mock;

extern "C" {

int cudaMalloc(void** pointer, size_t bytes) {
    return guarded([=] {
        *pointer = reinterpret_cast<void*>(allocate_device(bytes));
        return *pointer == nullptr ? OutOfMemory : Success;
    });
}
// Memory that host and device share: pinned host memory.
int cudaMallocHost(void** pointer, size_t bytes) {
    return guarded([=] {
        *pointer = std::aligned_alloc(kPage, (bytes + kPage) / kPage * kPage);
        if (*pointer == nullptr) return OutOfMemory;
        std::memset(*pointer, 0xFF, bytes);
        pin_host(*pointer, bytes);
        return Success;
    });
}
int cudaMallocManaged(void** pointer, size_t bytes, unsigned) { return cudaMallocHost(pointer, bytes); }
int cudaHostAlloc(void** pointer, size_t bytes, unsigned) { return cudaMallocHost(pointer, bytes); }
int cudaFreeHost(void* pointer) {
    return guarded([=] {
        run_all_streams();
        if (pointer == nullptr) return Success;
        if (!unpin_host(pointer)) return InvalidValue;
        std::free(pointer);
        return Success;
    });
}
int cudaFree(void* pointer) {
    return guarded([=] {
        run_all_streams();
        const uint64_t address = reinterpret_cast<uint64_t>(pointer);
        if (address == 0 || free_device(address)) return Success;
        if (!unpin_host(pointer)) return InvalidValue;
        std::free(pointer);
        return Success;
    });
}
int cudaHostRegister(void* pointer, size_t bytes, unsigned) {
    return guarded([=] {
        pin_host(pointer, bytes);
        return Success;
    });
}
int cudaHostUnregister(void* pointer) {
    return guarded([=] {
        run_all_streams();
        return unpin_host(pointer) ? Success : InvalidValue;
    });
}
int cudaHostGetDevicePointer(void** device, void* host, unsigned) {
    *device = host;
    return is_pinned(host) ? Success : InvalidValue;
}
int cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
    *free_bytes = free_memory();
    *total_bytes = total_memory();
    return Success;
}

int cudaMemcpyAsync(void* to, const void* from, size_t bytes, int, void* stream) {
    return guarded([=] {
        enqueue_copy(*stream_of(stream), {to, 0, from, 0, bytes, 1});
        return Success;
    });
}
int cudaMemcpy(void* to, const void* from, size_t bytes, int) {
    return guarded([=] {
        enqueue_copy(*stream_of(nullptr), {to, 0, from, 0, bytes, 1});
        stream_of(nullptr)->run_all();
        return Success;
    });
}
int cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t rows, int, void* stream) {
    return guarded([=] {
        enqueue_copy(*stream_of(stream), {to, to_pitch, from, from_pitch, width, rows});
        return Success;
    });
}
int cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, void* stream) { return cudaMemcpyAsync(to, from, bytes, 0, stream); }
int cudaMemsetAsync(void* to, int value, size_t bytes, void* stream) {
    return guarded([=] {
        enqueue_fill(*stream_of(stream), to, value, bytes);
        return Success;
    });
}
int cudaMemset(void* to, int value, size_t bytes) { return cudaMemsetAsync(to, value, bytes, nullptr); }

}  // extern "C"
