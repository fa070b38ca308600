#pragma once

#include "opcode.h"
#include "program.h"

namespace cuda_mock {

/**
 * Each chooses what runs an instruction of its room, by its name and types; null if it isn't of the room. It may set what the handler
 * reads of the instruction: kind, variant, space. Operands stand in the instruction already.
 */
Handler arithmetic_handler(const Opcode& opcode, Instruction& in);
Handler bits_handler(const Opcode& opcode, Instruction& in);
Handler compare_handler(const Opcode& opcode, Instruction& in);
Handler convert_handler(const Opcode& opcode, Instruction& in);
Handler memory_handler(const Opcode& opcode, Instruction& in);
Handler warp_handler(const Opcode& opcode, Instruction& in);
Handler matrix_handler(const Opcode& opcode, Instruction& in);

/** Calls `choose` with a value of the C++ type that has this size and sign; null for others. */
template <class F> Handler by_integer(Type type, F&& choose) {
    switch (type) {
        case Type::S16: return choose(int16_t{});
        case Type::S32: return choose(int32_t{});
        case Type::S64: return choose(int64_t{});
        case Type::B16:
        case Type::U16: return choose(uint16_t{});
        case Type::Pred:
        case Type::B32:
        case Type::U32: return choose(uint32_t{});
        case Type::B64:
        case Type::U64: return choose(uint64_t{});
        default: return nullptr;
    }
}

}  // namespace cuda_mock
