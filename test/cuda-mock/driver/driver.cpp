#include "../device/errors.h"
#include "../device/kernels.h"
#include "../device/memory.h"
#include "../device/properties.h"
#include "../device/stream.h"

// The driver's functions: virtual memory, as ggml's pool uses it, and kernels of libraries that are loaded at run time.

using namespace cuda_mock;

namespace {

constexpr int kCapabilityMajor = 75, kCapabilityMinor = 76, kVirtualMemory = 102;  // CU_DEVICE_ATTRIBUTE_…

struct LoadedLibrary {
    std::shared_ptr<Library> library;
};

}  // namespace

extern "C" {

int cuInit(unsigned) { return properties().devices > 0 ? Success : NoDevice; }
int cuDriverGetVersion(int* version) {
    *version = 13010;
    return Success;
}
int cuDeviceGet(int* device, int) {
    *device = 0;
    return Success;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
    const int capability = properties().capability;
    *value = attribute == kVirtualMemory ? 1 : attribute == kCapabilityMajor ? capability / 10 : attribute == kCapabilityMinor ? capability % 10 : 0;
    return Success;
}
int cuGetErrorString(int error, const char** text) {
    *text = error_text(error);
    return Success;
}

int cuMemGetAllocationGranularity(size_t* bytes, const void*, int) {
    *bytes = kGranule;
    return Success;
}
int cuMemAddressReserve(uint64_t* address, size_t bytes, size_t, uint64_t, unsigned long long) {
    return guarded([=] {
        *address = reserve_addresses(bytes);
        return Success;
    });
}
int cuMemAddressFree(uint64_t, size_t) { return Success; }  // addresses aren't given out twice
// A handle is nothing but its size: memory is mapped once.
int cuMemCreate(uint64_t* handle, size_t bytes, const void*, unsigned long long) {
    *handle = bytes;
    return bytes <= free_memory() ? Success : OutOfMemory;
}
int cuMemRelease(uint64_t) { return Success; }
int cuMemMap(uint64_t address, size_t bytes, size_t, uint64_t, unsigned long long) {
    return guarded([=] { return map_memory(address, bytes) ? Success : OutOfMemory; });
}
int cuMemUnmap(uint64_t address, size_t bytes) {
    return guarded([=] {
        run_all_streams();
        unmap_memory(address, bytes);
        return Success;
    });
}
int cuMemSetAccess(uint64_t, size_t, const void*, size_t) { return Success; }

int cuLibraryLoadData(void** library, const void* image, int*, void**, unsigned, int*, void**, unsigned) {
    return guarded([=] {
        auto loaded = std::make_shared<Library>(image);
        loaded->module();
        *library = new LoadedLibrary{loaded};
        return Success;
    });
}
int cuLibraryUnload(void* library) {
    return guarded([=] {
        run_all_streams();
        delete static_cast<LoadedLibrary*>(library);
        return Success;
    });
}
int cuLibraryGetKernel(void** kernel, void* library, const char* name) {
    return guarded([=]() -> int {
        const auto& loaded = static_cast<LoadedLibrary*>(library)->library;
        if (!loaded->module().has(name)) return NotFound;
        *kernel = new Kernel{loaded, name};
        return Success;
    });
}
int cuLaunchKernel(void* kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                   unsigned shared_bytes, void* stream, void** values, void** extra) {
    if (extra != nullptr) return InvalidValue;
    return guarded([&] {
        launch(*static_cast<Kernel*>(kernel), {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, values, stream);
        return Success;
    });
}

}  // extern "C"
