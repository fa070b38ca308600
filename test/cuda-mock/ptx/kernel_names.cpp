#include <algorithm>

#include "handlers.h"
#include "kernel_parser.h"
#include "module.h"
#include "text.h"

// What a name or a number in an instruction is: a register of the kernel, a constant, a special register, an address.

namespace cuda_mock {

Operand KernelParser::operand(std::string_view text, bool wide) {
    Operand found;
    uint64_t value = 0;
    if (text == "_") return found;
    if (text[0] == '!') {
        Instruction negation;
        negation.text = uint32_t(program_.texts.size()) - 1;
        negation.run = bits_handler(Opcode("not.pred"), negation);
        negation.to[negation.to_count++] = {new_register(false), false};
        negation.from[negation.from_count++] = operand(text.substr(1), false);
        program_.code.push_back(negation);
        return negation.to[0];
    }
    if (find_register(text, found)) return found;
    if (text[0] == '%') return special(text, wide);
    if (parse_number(text, value)) return constant(value, wide);
    const size_t plus = text.find('+');
    uint64_t added = 0;
    if (plus != std::string_view::npos && !parse_number(trimmed(text.substr(plus + 1)), added))
        throw KernelFault("an operand isn't understood: " + std::string(text));
    if (!find_symbol(trimmed(text.substr(0, plus)), value)) throw KernelFault("no name " + std::string(text));
    return constant(value + added, wide);
}

bool KernelParser::find_register(std::string_view name, Operand& found) {
    const size_t digits = name.find_last_not_of("0123456789") + 1;
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); scope++) {
        const auto exact = scope->find(name);
        if (exact != scope->end() && exact->second.first_offset >= 0) {
            found = {exact->second.first_offset, exact->second.wide};
            return true;
        }
        const auto range = digits < name.size() ? scope->find(name.substr(0, digits)) : scope->end();
        if (range == scope->end() || range->second.first_offset >= 0) continue;
        uint64_t number = 0;
        for (char digit : name.substr(digits))
            number = number * 10 + uint64_t(digit - '0');
        const auto [at, added] = range->second.offsets.try_emplace(number, 0);
        if (added) at->second = new_register(range->second.wide);
        found = {at->second, range->second.wide};
        return true;
    }
    return false;
}

bool KernelParser::find_symbol(std::string_view name, uint64_t& value) {
    const auto own = symbols_.find(name);
    if (own != symbols_.end()) {
        value = own->second;
        return true;
    }
    Variable* variable = module_.variable(name);
    if (variable == nullptr) return false;
    if (!variable->shared)
        value = module_.address_of(*variable);
    else if (variable->external) {  // all of them are where the launch's shared memory begins
        program_.shared_bytes = aligned(program_.shared_bytes, std::max(variable->align, dynamic_shared_align_));
        dynamic_shared_align_ = std::max(variable->align, dynamic_shared_align_);
        value = program_.shared_bytes;
    } else {
        program_.shared_bytes = aligned(program_.shared_bytes, variable->align);
        value = symbols_[std::string(name)] = program_.shared_bytes;
        program_.shared_bytes += variable->bytes;
    }
    return true;
}

int KernelParser::new_register(bool wide) {
    const int offset = int(program_.register_bytes);
    program_.register_bytes += wide ? 8 * kLanes : 4 * kLanes;
    return offset;
}

Operand KernelParser::constant(uint64_t value, bool wide) {
    const auto [found, added] = constants_.try_emplace({value, wide});
    if (added) {
        found->second = {new_register(wide), wide};
        program_.constants.push_back({found->second.offset, wide, value});
    }
    return found->second;
}

Operand KernelParser::special(std::string_view name, bool wide) {
    static const std::map<std::string_view, Special> names{
        {"%tid.x", Special::TidX},          {"%tid.y", Special::TidY},          {"%tid.z", Special::TidZ},
        {"%ntid.x", Special::NtidX},        {"%ntid.y", Special::NtidY},        {"%ntid.z", Special::NtidZ},
        {"%ctaid.x", Special::CtaidX},      {"%ctaid.y", Special::CtaidY},      {"%ctaid.z", Special::CtaidZ},
        {"%nctaid.x", Special::NctaidX},    {"%nctaid.y", Special::NctaidY},    {"%nctaid.z", Special::NctaidZ},
        {"%laneid", Special::Lane},         {"%lanemask_le", Special::LanesLe}, {"%lanemask_lt", Special::LanesLt},
        {"%lanemask_ge", Special::LanesGe}, {"%lanemask_gt", Special::LanesGt}, {"%warpid", Special::Warp},
        {"%envreg1", Special::Zero},        {"%envreg2", Special::Zero},        {"%clock64", Special::Zero},
        {"%clock", Special::Zero}};
    const auto known = names.find(name);
    if (known == names.end()) throw KernelFault("no special register " + std::string(name));
    const auto [found, added] = specials_.try_emplace({known->second, wide});
    if (added) {
        found->second = {new_register(wide), wide};
        program_.specials.push_back({found->second.offset, wide, known->second});
    }
    return found->second;
}

}  // namespace cuda_mock
