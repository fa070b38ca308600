#include "module.h"

#include <cstdlib>
#include <cstring>
#include <vector>

#include "../device/memory.h"
#include "kernel_parser.h"
#include "text.h"

namespace cuda_mock {

Module::Module(std::string text) : text_(std::move(text)) { scan(); }

// Statements outside of kernels end with a semicolon, or with a kernel's body.
void Module::scan() {
    std::string_view rest = text_;
    rest = rest.substr(0, rest.find('\0'));
    for (;;) {
        const size_t begin = rest.find_first_not_of(" \t\r\n");
        if (begin == std::string_view::npos) return;
        rest.remove_prefix(begin);
        const auto starts = [&](std::string_view with) { return rest.substr(0, with.size()) == with; };
        if (starts(".target sm_")) capability_ = std::atoi(rest.data() + 11);
        if (starts("//") || starts(".version") || starts(".target") || starts(".address_size")) {
            rest.remove_prefix(std::min(rest.find('\n'), rest.size()));
            continue;
        }
        const size_t semicolon = std::min(rest.find(';'), rest.size() - 1), entry = rest.find(".entry");
        if (entry < semicolon) {
            const size_t open = rest.find('{'), close = closing(rest, open);
            const std::string_view head = trimmed(rest.substr(entry + 6, open - entry - 6));
            kernels_.emplace(trimmed(head.substr(0, head.find_first_of("( \t\r\n"))), Text{head, rest.substr(open + 1, close - open - 1)});
            rest.remove_prefix(close + 1);
            continue;
        }
        const std::string_view statement = rest.substr(0, semicolon);
        rest.remove_prefix(semicolon + 1);
        if (statement.find(".func") != std::string_view::npos) continue;
        const size_t equals = statement.find('=');
        const Declaration declared = parse_declaration(statement.substr(0, equals));
        Variable variable;
        variable.shared = statement.find(".shared") != std::string_view::npos;
        variable.external = declared.open_ended;
        variable.align = declared.align;
        variable.bytes = declared.open_ended ? 0 : declared.bytes();
        variable.element_bytes = declared.element_bytes;
        if (equals != std::string_view::npos) variable.initial = trimmed(statement.substr(equals + 1));
        variables_.emplace(declared.name, variable);
    }
}

Variable* Module::variable(std::string_view name) {
    const auto found = variables_.find(name);
    return found == variables_.end() ? nullptr : &found->second;
}

uint64_t Module::address_of(Variable& variable) {
    if (variable.address != 0) return variable.address;
    std::vector<uint8_t> value(variable.bytes, 0);
    std::string_view list = variable.initial;
    if (!list.empty() && list[0] == '{') list = list.substr(1, list.size() - 2);
    uint32_t at = 0;
    for (std::string_view item : split(list, ',')) {
        uint64_t number = 0;
        if (!parse_number(item, number) || at + variable.element_bytes > variable.bytes)
            throw KernelFault("a variable's value isn't understood: " + std::string(item));
        std::memcpy(value.data() + at, &number, variable.element_bytes);
        at += variable.element_bytes;
    }
    variable.address = allocate_device(variable.bytes);
    if (variable.address == 0) throw KernelFault("no device memory for a variable");
    std::memcpy(device_bytes(variable.address, variable.bytes), value.data(), value.size());
    return variable.address;
}

const Program& Module::program(const std::string& kernel) {
    std::unique_ptr<Program>& program = programs_[kernel];
    if (program == nullptr) {
        const Text& text = kernels_.at(kernel);
        program = std::make_unique<Program>(KernelParser(*this, kernel).parse(text.head, text.body));
    }
    return *program;
}

}  // namespace cuda_mock
