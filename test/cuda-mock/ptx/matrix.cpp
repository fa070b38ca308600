#include <cmath>

#include "handlers.h"
#include "lanes.h"
#include "addresses.h"
#include "numbers.h"

// ldmatrix, movmatrix and mma. Fragments lie as PTX's manual has them: lane l is in row l / 4 (or column, for B) and its registers hold
// neighbouring elements.

namespace cuda_mock {

namespace {

template <bool transposed> void load_matrices(Warp& warp, const Instruction& in, uint32_t) {
    for (int matrix = 0; matrix < in.to_count; matrix++) {
        uint16_t elements[8][8];
        for (int row = 0; row < 8; row++) {
            const int lane = 8 * matrix + row;
            std::memcpy(elements[row], bytes_at(warp, Space::Shared, address_of(warp, in, lane), lane, 16), 16);
        }
        for (int lane = 0; lane < kLanes; lane++) {
            const int row = lane / 4, column = 2 * (lane % 4);
            const uint32_t low = transposed ? elements[column][row] : elements[row][column];
            const uint32_t high = transposed ? elements[column + 1][row] : elements[row][column + 1];
            write_any(warp, in.to[matrix], lane, low | high << 16);
        }
    }
}

void transpose_matrix(Warp& warp, const Instruction& in, uint32_t) {
    uint16_t elements[8][8];
    for (int lane = 0; lane < kLanes; lane++) {
        const uint32_t both = uint32_t(read_any(warp, in.from[0], lane));
        elements[lane / 4][2 * (lane % 4)] = uint16_t(both);
        elements[lane / 4][2 * (lane % 4) + 1] = uint16_t(both >> 16);
    }
    for (int lane = 0; lane < kLanes; lane++)
        write_any(warp, in.to[0], lane, elements[2 * (lane % 4)][lane / 4] | uint32_t(elements[2 * (lane % 4) + 1][lane / 4]) << 16);
}

/** How `per_register` elements of a register are read. */
template <class Element, class Sum> struct Elements {
    static constexpr int per_register = 4 / sizeof(Element);
    static Sum at(uint32_t bits, int index) { return Sum(from_slot<Element>(bits >> (8 * sizeof(Element) * index))); }
};

struct Tf32 {
    uint32_t bits;
    operator float() const {
        const uint32_t kept = bits & ~0x1FFFu;
        float value;
        std::memcpy(&value, &kept, 4);
        return value;
    }
};

/**
 * D = A x B + C for M rows, 8 columns and a depth of K. A's registers go through its halves of rows first, then through its depth.
 * Result: registers of rows 0..7, then of rows 8..15; two elements each, in one register where they are halves.
 */
template <int M, int K, class A, class B, class Sum, class Result> void multiply(Warp& warp, const Instruction& in, uint32_t) {
    constexpr int elements = Elements<A, Sum>::per_register, row_parts = M / 8, depth = 4 * elements, depth_parts = K / depth;
    constexpr bool halves = sizeof(Result) == 2;
    constexpr int result_registers = halves ? row_parts : 2 * row_parts;
    static thread_local Sum a[M][K], b[8][K];
    for (int lane = 0; lane < kLanes; lane++)
        for (int part = 0; part < depth_parts; part++)
            for (int e = 0; e < elements; e++) {
                const int k = part * depth + lane % 4 * elements + e;
                for (int rows = 0; rows < row_parts; rows++)
                    a[8 * rows + lane / 4][k] = Elements<A, Sum>::at(uint32_t(read_any(warp, in.from[part * row_parts + rows], lane)), e);
                b[lane / 4][k] = Elements<B, Sum>::at(uint32_t(read_any(warp, in.from[row_parts * depth_parts + part], lane)), e);
            }
    const int first_added = row_parts * depth_parts + depth_parts;
    for (int lane = 0; lane < kLanes; lane++) {
        uint32_t results[result_registers] = {};
        for (int rows = 0; rows < row_parts; rows++)
            for (int e = 0; e < 2; e++) {
                const int index = halves ? rows : 2 * rows + e;
                const uint32_t added = uint32_t(read_any(warp, in.from[first_added + index], lane));
                const Sum *x = a[8 * rows + lane / 4], *y = b[2 * (lane % 4) + e];
                Sum sum = Sum(from_slot<Result>(halves ? added >> (16 * e) : added));
                for (int k = 0; k < K; k++)
                    sum += x[k] * y[k];
                const uint32_t bits = to_slot<Result>(Result(sum));
                results[index] |= halves ? bits << (16 * e) : bits;
            }
        for (int i = 0; i < result_registers; i++)
            write_any(warp, in.to[i], lane, results[i]);
    }
}

template <class A, class B> Handler bytes_multiplication(const Opcode& opcode) {
    if (opcode.has("m16n8k32")) return multiply<16, 32, A, B, int32_t, int32_t>;
    if (opcode.has("m16n8k16")) return multiply<16, 16, A, B, int32_t, int32_t>;
    if (opcode.has("m8n8k16")) return multiply<8, 16, A, B, int32_t, int32_t>;
    return nullptr;
}

Handler multiplication(const Opcode& opcode) {
    const Type d = opcode.type(3), a = opcode.type(2), b = opcode.type(1);
    const auto shape = [&](const char* name) { return opcode.has(name); };
    if (a == Type::F16 && d == Type::F32) {
        if (shape("m16n8k16")) return multiply<16, 16, Half, Half, float, float>;
        if (shape("m16n8k8")) return multiply<16, 8, Half, Half, float, float>;
    }
    if (a == Type::F16 && d == Type::F16) {
        if (shape("m16n8k16")) return multiply<16, 16, Half, Half, float, Half>;
        if (shape("m16n8k8")) return multiply<16, 8, Half, Half, float, Half>;
    }
    if (a == Type::BF16) {
        if (shape("m16n8k16")) return multiply<16, 16, Bfloat, Bfloat, float, float>;
        if (shape("m16n8k8")) return multiply<16, 8, Bfloat, Bfloat, float, float>;
    }
    if (a == Type::TF32) {
        if (shape("m16n8k8")) return multiply<16, 8, Tf32, Tf32, float, float>;
        if (shape("m16n8k4")) return multiply<16, 4, Tf32, Tf32, float, float>;
    }
    const bool bytes_a = a == Type::S8 || a == Type::U8, bytes_b = b == Type::S8 || b == Type::U8;
    if (!bytes_a || !bytes_b || opcode.has("satfinite")) return nullptr;
    if (a == Type::S8) return b == Type::S8 ? bytes_multiplication<int8_t, int8_t>(opcode) : bytes_multiplication<int8_t, uint8_t>(opcode);
    return b == Type::S8 ? bytes_multiplication<uint8_t, int8_t>(opcode) : bytes_multiplication<uint8_t, uint8_t>(opcode);
}

}  // namespace

Handler matrix_handler(const Opcode& opcode, Instruction& in) {
    Handler found = nullptr;
    if (opcode.name == "ldmatrix" && opcode.has("m8n8") && opcode.has("b16"))
        found = opcode.has("trans") ? load_matrices<true> : load_matrices<false>;
    if (opcode.name == "movmatrix") found = transpose_matrix;
    if (opcode.name == "mma" && opcode.has("row") && opcode.has("col")) found = multiplication(opcode);
    if (found != nullptr) in.kind = Kind::WarpSync;
    return found;
}

}  // namespace cuda_mock
