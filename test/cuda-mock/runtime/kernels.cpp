#include "../device/kernels.h"

#include <cstring>

#include "../device/errors.h"
#include "../device/properties.h"
#include "../device/stream.h"

// What nvcc's code calls to register kernels when a library is loaded, and to launch them.

using namespace cuda_mock;

namespace {

struct Wrapper {  // __fatBinC_Wrapper_t
    int magic, version;
    const void* data;
    void* unused;
};
struct LaunchConfiguration {  // cudaLaunchConfig_t
    Size3 grid, block;
    size_t shared_bytes;
    void* stream;
};
struct FunctionAttributes {  // cudaFuncAttributes
    size_t shared_bytes, const_bytes, local_bytes;
    int most_threads, registers, ptx_version, binary_version;
};
constexpr size_t kFunctionAttributesBytes = 144;

thread_local LaunchConfiguration g_configuration;

int launch_function(const void* function, const LaunchConfiguration& how, void** values) {
    return guarded([&] {
        launch(kernel_of(function), how.grid, how.block, how.shared_bytes, values, how.stream);
        return Success;
    });
}

}  // namespace

extern "C" {

void** __cudaRegisterFatBinary(void* wrapper) {
    return reinterpret_cast<void**>(new std::shared_ptr<Library>(new Library(static_cast<Wrapper*>(wrapper)->data)));
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void** library, const char* function, char*, const char* name, int, void*, void*, void*, void*, int*) {
    std::lock_guard lock(device_mutex());
    register_kernel(function, {*reinterpret_cast<std::shared_ptr<Library>*>(library), name});
}
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}

unsigned __cudaPushCallConfiguration(Size3 grid, Size3 block, size_t shared_bytes, void* stream) {
    g_configuration = {grid, block, shared_bytes, stream};
    return 0;
}
int __cudaPopCallConfiguration(Size3* grid, Size3* block, size_t* shared_bytes, void* stream) {
    *grid = g_configuration.grid;
    *block = g_configuration.block;
    *shared_bytes = g_configuration.shared_bytes;
    *static_cast<void**>(stream) = g_configuration.stream;
    return Success;
}
int __cudaGetKernel(const void** kernel, const void* function) {
    *kernel = function;
    return Success;
}
int cudaLaunchKernel(const void* function, Size3 grid, Size3 block, void** values, size_t shared_bytes, void* stream) {
    return launch_function(function, {grid, block, shared_bytes, stream}, values);
}
int __cudaLaunchKernel(const void* function, Size3 grid, Size3 block, void** values, size_t shared_bytes, void* stream) {
    return launch_function(function, {grid, block, shared_bytes, stream}, values);
}
int cudaLaunchKernelExC(const LaunchConfiguration* how, const void* function, void** values) { return launch_function(function, *how, values); }
// Blocks run one after the other, so none may wait for another.
int cudaLaunchCooperativeKernel(const void*, Size3, Size3, void**, size_t, void*) { return Unsupported; }

int cudaFuncGetAttributes(void* out, const void* function) {
    return guarded([=] {
        const Kernel& kernel = kernel_of(function);
        const Program& program = kernel.program();
        FunctionAttributes attributes{program.shared_bytes,      0,  program.local_bytes,
                                      int(program.most_threads), 32, kernel.library->module().capability(),
                                      properties().capability};
        std::memset(out, 0, kFunctionAttributesBytes);
        std::memcpy(out, &attributes, sizeof attributes);
        return Success;
    });
}
int cudaFuncSetAttribute(const void*, int, int) { return Success; }
int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int, size_t, unsigned) {
    *blocks = 2;
    return Success;
}

}  // extern "C"
