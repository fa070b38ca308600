#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "program.h"

namespace cuda_mock {

/** A variable outside of kernels. Shared ones have no initial value. */
struct Variable {
    bool shared = false, external = false;
    uint32_t align = 1, bytes = 0;
    std::string_view initial;  // the text behind `=`
    uint32_t element_bytes = 1;
    uint64_t address = 0;  // in device memory, from its first use on
};

/** PTX of one translation unit. Kernels are parsed when they are asked for. Throws KernelFault where the text isn't understood. */
class Module {
public:
    explicit Module(std::string text);

    bool has(const std::string& kernel) const { return kernels_.count(kernel) != 0; }
    /** The compute capability that it was compiled for: 80 is 8.0. */
    int capability() const { return capability_; }
    const Program& program(const std::string& kernel);
    /** Null if there is none of that name. */
    Variable* variable(std::string_view name);
    /** Address of a global variable, which is put in device memory. */
    uint64_t address_of(Variable& variable);

private:
    struct Text {
        std::string_view head, body;
    };

    void scan();

    std::string text_;
    int capability_ = 0;
    std::map<std::string, Text, std::less<>> kernels_;
    std::map<std::string, Variable, std::less<>> variables_;
    std::map<std::string, std::unique_ptr<Program>, std::less<>> programs_;
};

}  // namespace cuda_mock
