#include "kernels.h"

#include <cstring>
#include <map>

#include "../ptx/run.h"
#include "fatbin.h"
#include "properties.h"
#include "report.h"
#include "stream.h"

namespace cuda_mock {

Module& Library::module() {
    if (module_ == nullptr) {
        module_ = std::make_unique<Module>(is_fat_binary(image_) ? ptx_for(image_, properties().capability)
                                                                 : std::string(static_cast<const char*>(image_)));
    }
    return *module_;
}

static std::shared_ptr<const std::string> copied_parameters(const Program& program, void** values) {
    std::string copy(program.parameter_bytes, '\0');
    for (size_t i = 0; i < program.parameters.size(); i++)
        std::memcpy(&copy[program.parameters[i].offset], values[i], program.parameters[i].bytes);
    return std::make_shared<const std::string>(std::move(copy));
}

void launch(const Kernel& kernel, Size3 grid, Size3 block, size_t shared_bytes, void** values, void* stream) {
    const Program& program = kernel.program();
    if (program.shared_bytes + shared_bytes > properties().shared_bytes_opt_in)
        throw KernelFault(kernel.name + ": a block wants more shared memory than there is");
    stream_of(stream)->enqueue([&program, grid, block, shared_bytes, parameters = copied_parameters(program, values)] {
        count_kernel(program.name);
        run({program, grid, block, uint32_t(shared_bytes), reinterpret_cast<const uint8_t*>(parameters->data())});
    });
}

static std::map<const void*, Kernel>& kernels() {
    static auto* all = new std::map<const void*, Kernel>;
    return *all;
}

void register_kernel(const void* host_function, Kernel kernel) { kernels()[host_function] = std::move(kernel); }

const Kernel& kernel_of(const void* host_function) {
    const auto found = kernels().find(host_function);
    if (found == kernels().end()) throw KernelFault("no kernel was registered for this function");
    return found->second;
}

}  // namespace cuda_mock
