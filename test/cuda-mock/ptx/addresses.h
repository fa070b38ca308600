#pragma once

#include <cstdint>

namespace cuda_mock {

struct Warp;
struct Instruction;
enum class Space : uint8_t;

/** Where the bytes are that a lane's address means. KernelFault if they aren't the kernel's to touch. */
uint8_t* bytes_at(Warp& warp, Space space, uint64_t address, int lane, uint32_t bytes);

/** A lane's address: the operand and the instruction's offset. */
uint64_t address_of(Warp& warp, const Instruction& in, int lane, int operand = 0);

}  // namespace cuda_mock
