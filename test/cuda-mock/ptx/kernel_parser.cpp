#include "kernel_parser.h"

#include <algorithm>
#include <iterator>

#include "handlers.h"
#include "module.h"
#include "text.h"

namespace cuda_mock {

KernelParser::KernelParser(Module& module, const std::string& name) : module_(module), scopes_(1) { program_.name = name; }

Program KernelParser::parse(std::string_view head, std::string_view body) {
    parse_head(head);
    std::string_view rest = body;
    for (;;) {
        const size_t begin = rest.find_first_not_of(" \t\r\n");
        if (begin == std::string_view::npos) break;
        rest.remove_prefix(begin);
        if (rest.substr(0, 2) == "//") {
            rest.remove_prefix(std::min(rest.find('\n'), rest.size()));
            continue;
        }
        if (rest[0] == '{') scopes_.emplace_back();
        if (rest[0] == '}') scopes_.pop_back();
        if (rest[0] == '{' || rest[0] == '}' || rest[0] == ';') {
            rest.remove_prefix(1);
            continue;
        }
        const size_t word = rest.find_first_of(" \t\r\n:;");
        if (word != std::string_view::npos && rest[word] == ':' && rest.substr(word, 2) != "::") {
            labels_[std::string(rest.substr(0, word))] = uint32_t(program_.code.size());
            rest.remove_prefix(word + 1);
            continue;
        }
        const size_t end = std::min(rest.find(';'), rest.size() - 1);
        parse_statement(trimmed(rest.substr(0, end)));
        rest.remove_prefix(end + 1);
    }
    add_instruction("exit");  // a body may end without one
    for (const auto& [at, label] : jumps_) {
        if (labels_.count(label) == 0) throw KernelFault("no label " + label);
        program_.code[at].target = labels_[label];
    }
    program_.shared_bytes = aligned(program_.shared_bytes, dynamic_shared_align_);
    return std::move(program_);
}

void KernelParser::parse_head(std::string_view head) {
    const size_t open = head.find('(');
    std::string_view directives = open == std::string_view::npos ? head : head.substr(closing(head, open));
    if (open != std::string_view::npos)
        for (std::string_view text : split(head.substr(open + 1, closing(head, open) - open - 1), ',')) {
            const Declaration declared = parse_declaration(text);
            program_.parameter_bytes = aligned(program_.parameter_bytes, declared.align);
            program_.parameters.push_back({std::string(declared.name), program_.parameter_bytes, declared.bytes()});
            symbols_[std::string(declared.name)] = program_.parameter_bytes;
            program_.parameter_bytes += declared.bytes();
        }
    const size_t most = directives.find(".maxntid");
    if (most == std::string_view::npos) return;
    directives = trimmed(directives.substr(most + 8));
    uint64_t threads = 1;
    for (std::string_view number : split(directives.substr(0, directives.find_first_of(".\n")), ',')) {
        uint64_t size = 1;
        if (parse_number(number, size)) threads *= size;
    }
    program_.most_threads = uint32_t(threads);
}

void KernelParser::parse_statement(std::string_view statement) {
    if (statement[0] != '.') return add_instruction(statement);
    const auto starts = [&](std::string_view with) { return statement.substr(0, with.size()) == with; };
    if (starts(".reg")) return declare_registers(statement.substr(4));
    if (starts(".shared") || starts(".local") || starts(".extern")) return declare_memory(statement);
    if (starts(".pragma") || starts(".param") || starts(".loc ")) return;
    throw KernelFault("PTX has a statement that isn't known: " + std::string(statement));
}

void KernelParser::declare_registers(std::string_view text) {
    const std::string_view type = take_word(text);
    const bool wide = size_of(type_named(type.substr(1))) == 8;
    for (std::string_view name : split(text, ',')) {
        const size_t range = name.find('<');
        scopes_.back()[std::string(trimmed(name.substr(0, range)))] = Registers{wide, range == std::string_view::npos ? new_register(wide) : -1, {}};
    }
}

void KernelParser::declare_memory(std::string_view statement) {
    const Declaration declared = parse_declaration(statement);
    const bool shared = statement.find(".shared") != std::string_view::npos;
    uint32_t& used = shared ? program_.shared_bytes : program_.local_bytes;
    used = aligned(used, declared.align);
    symbols_[std::string(declared.name)] = used;
    used += declared.bytes();
}

void KernelParser::add_instruction(std::string_view text) {
    Instruction in;
    in.text = uint32_t(program_.texts.size());
    program_.texts.emplace_back(text);
    if (text[0] == '@') {
        std::string_view guard = take_word(text).substr(1);
        in.guard_negated = guard[0] == '!';
        if (in.guard_negated) guard.remove_prefix(1);
        Operand predicate;
        if (!find_register(guard, predicate)) throw KernelFault("no predicate " + std::string(guard));
        in.guard = predicate.offset;
    }
    const std::string_view name = take_word(text);
    const Opcode opcode(name);
    program_.flushes_subnormals = program_.flushes_subnormals || opcode.has("ftz");
    if (opcode.name == "bra") {
        in.kind = Kind::Branch;
        jumps_.emplace_back(uint32_t(program_.code.size()), std::string(text));
        program_.code.push_back(in);
        return;
    }
    if (opcode.name == "call") {
        in.run = [](Warp&, const Instruction&, uint32_t) { throw KernelFault("a function is called (printf, before a kernel stops itself)"); };
        program_.code.push_back(in);
        return;
    }
    if ((opcode.name == "st" || opcode.name == "ld") && opcode.has("param") &&
        (text.find("[param") != std::string_view::npos || text.find("[retval") != std::string_view::npos))
        return;  // of such a call
    add_operands(text, in, opcode);
    for (const auto& find : {arithmetic_handler, bits_handler, compare_handler, convert_handler, memory_handler, warp_handler, matrix_handler})
        if (in.run == nullptr) in.run = find(opcode, in);
    if (in.run == nullptr) {
        in.kind = Kind::Plain;
        in.run = [](Warp&, const Instruction&, uint32_t) { throw KernelFault("the mock doesn't know this instruction"); };
    }
    program_.code.push_back(in);
}

static bool has_result(const Opcode& opcode) {
    static const char* without[] = {"st", "red", "cp", "membar", "fence", "nanosleep", "griddepcontrol", "prefetch", "trap", "ret", "exit"};
    if (opcode.name == "bar" || opcode.name == "barrier") return opcode.has("red");
    return std::find(std::begin(without), std::end(without), opcode.name) == std::end(without);
}

void KernelParser::add_operands(const std::string_view& text, Instruction& in, const Opcode& opcode) {
    const bool is_shift = opcode.name == "shl" || opcode.name == "shr" || opcode.name == "bfe" || opcode.name == "bfi";
    const bool wide = size_of(opcode.type()) == 8;
    size_t index = 0;
    for (std::string_view list : split(text, ',')) {
        const bool result = index == 0 && has_result(opcode);
        std::vector<std::string_view> items{list};
        if (list[0] == '{')
            items = split(list.substr(1, list.size() - 2), ',');
        else if (result && list.find('|') != std::string_view::npos)
            items = split(list, '|');
        for (std::string_view item : items) {
            if (item[0] == '[') {
                address_operand(trimmed(item.substr(1, item.size() - 2)), in, in.from_count == 0 ? in.address : in.second_address);
                continue;
            }
            const size_t fields_from = opcode.name == "bfi" ? 3 : 2;
            const bool wide_constant = (wide && !(is_shift && index >= fields_from)) || (opcode.has("wide") && opcode.name == "mad" && index == 3);
            Operand found = operand(item, wide_constant);
            if (opcode.type() == Type::Pred && opcode.name == "mov" && !result) {
                uint64_t value = 0;
                if (parse_number(item, value)) found = constant(value != 0, false);
            }
            if ((result ? in.to_count : in.from_count) >= (result ? std::size(in.to) : std::size(in.from)))
                return;  // of an instruction that has no handler
            if (result)
                in.to[in.to_count++] = found;
            else
                in.from[in.from_count++] = found;
        }
        index++;
    }
}

void KernelParser::address_operand(std::string_view text, Instruction& in, int64_t& offset) {
    const size_t sign = text.find_first_of("+-", 1);
    if (sign != std::string_view::npos) {
        uint64_t value = 0;
        std::string_view number = trimmed(text.substr(sign + (text[sign] == '+')));
        if (!parse_number(number, value)) throw KernelFault("an address isn't understood: " + std::string(text));
        offset = int64_t(value);
        text = trimmed(text.substr(0, sign));
    }
    in.from[in.from_count++] = operand(text, true);
}

}  // namespace cuda_mock
