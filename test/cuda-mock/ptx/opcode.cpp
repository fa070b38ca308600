#include "opcode.h"

#include <algorithm>
#include <map>

namespace cuda_mock {

Type type_named(std::string_view text) {
    static const std::map<std::string_view, Type> types{{"pred", Type::Pred},     {"b8", Type::B8},     {"b16", Type::B16},     {"b32", Type::B32},
                                                        {"b64", Type::B64},       {"u8", Type::U8},     {"u16", Type::U16},     {"u32", Type::U32},
                                                        {"u64", Type::U64},       {"s8", Type::S8},     {"s16", Type::S16},     {"s32", Type::S32},
                                                        {"s64", Type::S64},       {"f16", Type::F16},   {"f16x2", Type::F16x2}, {"bf16", Type::BF16},
                                                        {"bf16x2", Type::BF16x2}, {"tf32", Type::TF32}, {"f32", Type::F32},     {"f64", Type::F64}};
    const auto found = types.find(text);
    return found == types.end() ? Type::None : found->second;
}

int size_of(Type type) {
    switch (type) {
        case Type::B8:
        case Type::U8:
        case Type::S8: return 1;
        case Type::B16:
        case Type::U16:
        case Type::S16:
        case Type::F16:
        case Type::BF16: return 2;
        case Type::B64:
        case Type::U64:
        case Type::S64:
        case Type::F64: return 8;
        default: return 4;
    }
}

Opcode::Opcode(std::string_view text) {
    for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find('.', begin), text.size());
        const std::string_view part = text.substr(begin, end - begin);
        begin = end + 1;
        if (name.empty())
            name = part;
        else
            modifiers.emplace_back(part);
        const Type type = type_named(part);
        if (type != Type::None) types.push_back(type);
    }
}

bool Opcode::has(std::string_view modifier) const { return std::find(modifiers.begin(), modifiers.end(), modifier) != modifiers.end(); }

Type Opcode::type(size_t from_end) const { return from_end < types.size() ? types[types.size() - 1 - from_end] : Type::None; }

}  // namespace cuda_mock
