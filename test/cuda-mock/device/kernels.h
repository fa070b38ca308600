#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "../ptx/module.h"
#include "../ptx/warp.h"

namespace cuda_mock {

/** A fat binary, or PTX as text, whose kernels are parsed when they are used. */
class Library {
public:
    explicit Library(const void* image) : image_(image) {}
    Module& module();

private:
    const void* image_;
    std::unique_ptr<Module> module_;
};

struct Kernel {
    std::shared_ptr<Library> library;
    std::string name;
    const Program& program() const { return library->module().program(name); }
};

/** Enqueues a launch. `values` are pointers to the parameters, which are copied. */
void launch(const Kernel& kernel, Size3 grid, Size3 block, size_t shared_bytes, void** values, void* stream);

/** Kernels that the host's code knows by an address of its own. */
void register_kernel(const void* host_function, Kernel kernel);
/** Throws KernelFault if there is none. */
const Kernel& kernel_of(const void* host_function);

}  // namespace cuda_mock
