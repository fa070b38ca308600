#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace cuda_mock {

constexpr int kLanes = 32;

/** Why a kernel could not be run to its end. */
struct KernelFault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Warp;
struct Instruction;
using Handler = void (*)(Warp& warp, const Instruction& instruction, uint32_t lanes);

/**
 * A register of all lanes of a warp: 32 slots of 4 bytes, or of 8 if it is wide. Narrower values lie in the low bits of a slot, the others are 0.
 * A predicate is 0 or 1. Constants and special registers such as %tid.x are registers that are filled before the warp starts.
 */
struct Operand {
    int offset = -1;  // in the warp's registers; -1: the sink `_`
    bool wide = false;
};

enum class Space : uint8_t { Generic, Global, Shared, Local, Param };

/** What an instruction does to the lanes' order; the others are `Plain`. */
enum class Kind : uint8_t { Plain, Branch, Exit, WarpSync, Barrier };

enum class Special : uint8_t {
    TidX,
    TidY,
    TidZ,
    NtidX,
    NtidY,
    NtidZ,
    CtaidX,
    CtaidY,
    CtaidZ,
    NctaidX,
    NctaidY,
    NctaidZ,
    Lane,
    LanesLe,
    LanesLt,
    LanesGe,
    LanesGt,
    Warp,
    Zero
};

struct Instruction {
    Handler run = nullptr;
    Kind kind = Kind::Plain;
    Space space = Space::Generic;
    uint8_t variant = 0;  // for the handler
    bool guard_negated = false;
    int guard = -1;  // offset of the predicate
    Operand to[8], from[12];
    uint8_t to_count = 0, from_count = 0;
    int64_t address = 0;         // added to from[0] where that is an address
    int64_t second_address = 0;  // likewise to from[1]
    uint32_t target = 0;
    Operand members;    // of a WarpSync: the lanes that take part; none: all
    uint32_t text = 0;  // index in Program::texts
};

struct Parameter {
    std::string name;
    uint32_t offset, bytes;
};

struct Program {
    std::string name;
    std::vector<Parameter> parameters;
    uint32_t parameter_bytes = 0, shared_bytes = 0, local_bytes = 0;
    uint32_t most_threads = 1024;
    bool flushes_subnormals = false;  // one of its instructions does: then all of them
    std::vector<Instruction> code;
    std::vector<std::string> texts;
    uint32_t register_bytes = 0;
    struct Constant {
        int offset;
        bool wide;
        uint64_t value;
    };
    std::vector<Constant> constants;
    struct SpecialRegister {
        int offset;
        bool wide;
        Special special;
    };
    std::vector<SpecialRegister> specials;
};

}  // namespace cuda_mock
