#include <cstdio>
#include <cstring>

#include "../device/errors.h"
#include "../device/memory.h"
#include "../device/properties.h"
#include "../device/stream.h"

// The runtime's functions on devices. Layouts are those of the toolkits whose names the mock has.

using namespace cuda_mock;

namespace {

// cudaDeviceProp of CUDA 12 and 13 differ: offsets of what ggml reads.
struct PropertyOffsets {
    size_t total_bytes, shared_bytes, warp_size, most_threads, major, minor, multiprocessors, shared_bytes_opt_in, all;
};
constexpr PropertyOffsets kOffsets12{288, 296, 308, 320, 360, 364, 388, 696, 1032};
constexpr PropertyOffsets kOffsets13{288, 296, 308, 320, 360, 364, 384, 672, 1008};

template <class T> void put(void* at, size_t offset, T value) { std::memcpy(static_cast<char*>(at) + offset, &value, sizeof value); }

int describe(void* properties_out, const PropertyOffsets& offsets) {
    const Properties& p = properties();
    std::memset(properties_out, 0, offsets.all);
    std::snprintf(static_cast<char*>(properties_out), 256, "%s", p.name);
    put(properties_out, offsets.total_bytes, total_memory());
    put(properties_out, offsets.shared_bytes, p.shared_bytes);
    put(properties_out, offsets.warp_size, 32);
    put(properties_out, offsets.most_threads, 1024);
    put(properties_out, offsets.major, p.capability / 10);
    put(properties_out, offsets.minor, p.capability % 10);
    put(properties_out, offsets.multiprocessors, p.multiprocessors);
    put(properties_out, offsets.shared_bytes_opt_in, p.shared_bytes_opt_in);
    return Success;
}

constexpr int kMultiprocessorCount = 16;  // cudaDevAttrMultiProcessorCount

}  // namespace

extern "C" {

int cudaGetDeviceCount(int* count) {
    *count = properties().devices;
    return *count > 0 ? Success : NoDevice;
}
int cudaGetDevice(int* device) {
    *device = 0;
    return Success;
}
int cudaSetDevice(int device) { return device == 0 ? Success : InvalidValue; }
int cudaSetDeviceFlags(unsigned) { return Success; }
int cudaGetDeviceProperties_v2(void* out, int) { return describe(out, kOffsets12); }
int cudaGetDeviceProperties(void* out, int) { return describe(out, kOffsets13); }
int cudaDeviceGetAttribute(int* value, int attribute, int) {
    *value = attribute == kMultiprocessorCount ? properties().multiprocessors : 0;
    return Success;
}
int cudaDeviceGetPCIBusId(char* text, int bytes, int) {
    std::snprintf(text, size_t(bytes), "0000:00:00.0");
    return Success;
}
int cudaDeviceCanAccessPeer(int* can, int, int) {
    *can = 0;
    return Success;
}
int cudaDeviceEnablePeerAccess(int, unsigned) { return InvalidValue; }
int cudaDeviceSynchronize() {
    return guarded([] {
        run_all_streams();
        return Success;
    });
}
int cudaGetLastError() { return last_error(true); }
int cudaPeekAtLastError() { return last_error(false); }
const char* cudaGetErrorString(int error) { return error_text(error); }

}  // extern "C"
