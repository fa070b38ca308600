#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "opcode.h"
#include "program.h"

namespace cuda_mock {

class Module;

/** Makes a program of a kernel's PTX. An instruction that isn't known becomes one that fails when it is run. */
class KernelParser {
public:
    KernelParser(Module& module, const std::string& name);
    /** `head`: from the name to the body. */
    Program parse(std::string_view head, std::string_view body);

private:
    struct Registers {
        bool wide;
        int first_offset = -1;
        std::map<uint64_t, int> offsets;
    };

    void parse_head(std::string_view head);
    void parse_statement(std::string_view statement);
    void declare_registers(std::string_view text);
    void declare_memory(std::string_view statement);
    void add_instruction(std::string_view text);
    void add_operands(const std::string_view& text, Instruction& in, const Opcode& opcode);
    Operand operand(std::string_view text, bool wide);
    void address_operand(std::string_view text, Instruction& in, int64_t& offset);
    bool find_register(std::string_view name, Operand& found);
    /** An address in its own space, of a variable or a parameter. */
    bool find_symbol(std::string_view name, uint64_t& value);
    Operand constant(uint64_t value, bool wide);
    Operand special(std::string_view name, bool wide);
    int new_register(bool wide);

    Module& module_;
    Program program_;
    std::vector<std::map<std::string, Registers, std::less<>>> scopes_;  // by prefix of a range, or by name
    std::map<std::string, uint64_t, std::less<>> symbols_;
    std::map<std::string, uint32_t, std::less<>> labels_;
    std::vector<std::pair<uint32_t, std::string>> jumps_;
    std::map<std::pair<uint64_t, bool>, Operand> constants_;
    std::map<std::pair<Special, bool>, Operand> specials_;
    uint32_t dynamic_shared_align_ = 16;
};

}  // namespace cuda_mock
