#pragma once

#include <cstring>
#include <type_traits>

#include "opcode.h"
#include "warp.h"

// How handlers reach registers of a warp.

namespace cuda_mock {

template <class T> using Slot = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

template <class F> inline void for_lanes(uint32_t lanes, F&& act) {
    if (lanes == ~0u)
        for (int lane = 0; lane < kLanes; lane++)
            act(lane);
    else
        for (; lanes != 0; lanes &= lanes - 1)
            act(__builtin_ctz(lanes));
}

template <class T> inline T from_slot(Slot<T> slot) {
    T value;
    std::memcpy(static_cast<void*>(&value), &slot, sizeof value);
    return value;
}

template <class T> inline Slot<T> to_slot(T value) {
    Slot<T> slot = 0;
    std::memcpy(&slot, static_cast<const void*>(&value), sizeof value);
    return slot;
}

/** For operands whose width is that of T. */
template <class T> inline Slot<T>* slots(Warp& warp, const Operand& operand) { return reinterpret_cast<Slot<T>*>(warp.registers + operand.offset); }

/** For operands that may be wider than what is read or written, as `cvt`, `ld` and `st` have them. */
inline uint64_t read_any(Warp& warp, const Operand& operand, int lane) {
    return operand.wide ? slots<uint64_t>(warp, operand)[lane] : slots<uint32_t>(warp, operand)[lane];
}

inline void write_any(Warp& warp, const Operand& operand, int lane, uint64_t value) {
    if (operand.offset < 0) return;
    if (operand.wide)
        slots<uint64_t>(warp, operand)[lane] = value;
    else
        slots<uint32_t>(warp, operand)[lane] = uint32_t(value);
}

template <class T, class F> inline void map1(Warp& warp, const Instruction& in, uint32_t lanes, F&& f) {
    using Result = decltype(f(T{}));
    auto* to = slots<Result>(warp, in.to[0]);
    const auto* a = slots<T>(warp, in.from[0]);
    for_lanes(lanes, [&](int lane) { to[lane] = to_slot<Result>(f(from_slot<T>(a[lane]))); });
}

template <class T, class F> inline void map2(Warp& warp, const Instruction& in, uint32_t lanes, F&& f) {
    using Result = decltype(f(T{}, T{}));
    auto* to = slots<Result>(warp, in.to[0]);
    const auto *a = slots<T>(warp, in.from[0]), *b = slots<T>(warp, in.from[1]);
    for_lanes(lanes, [&](int lane) { to[lane] = to_slot<Result>(f(from_slot<T>(a[lane]), from_slot<T>(b[lane]))); });
}

/** Result and third operand may be of another type than the others. */
template <class T, class C, class F> inline void map3(Warp& warp, const Instruction& in, uint32_t lanes, F&& f) {
    using Result = decltype(f(T{}, T{}, C{}));
    auto* to = slots<Result>(warp, in.to[0]);
    const auto *a = slots<T>(warp, in.from[0]), *b = slots<T>(warp, in.from[1]);
    const auto* c = slots<C>(warp, in.from[2]);
    for_lanes(lanes, [&](int lane) { to[lane] = to_slot<Result>(f(from_slot<T>(a[lane]), from_slot<T>(b[lane]), from_slot<C>(c[lane]))); });
}

}  // namespace cuda_mock
