#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cuda_mock {

enum class Type { None, Pred, B8, B16, B32, B64, U8, U16, U32, U64, S8, S16, S32, S64, F16, F16x2, BF16, BF16x2, TF32, F32, F64 };

/** NONE if the text names no type. */
Type type_named(std::string_view text);

/** Bytes of a value. A predicate has 4, as registers of up to 32 bits have. */
int size_of(Type type);

/** An instruction's name and its dotted modifiers: `setp.lt.ftz.f32` has "lt", "ftz" and "f32". */
struct Opcode {
    explicit Opcode(std::string_view text);

    bool has(std::string_view modifier) const;
    /** The type at this place among its types, counted from the end: 0 is the last. */
    Type type(size_t from_end = 0) const;

    std::string name;
    std::vector<std::string> modifiers;
    std::vector<Type> types;
};

}  // namespace cuda_mock
