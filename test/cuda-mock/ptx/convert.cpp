#include <algorithm>
#include <cmath>
#include <limits>

#include "handlers.h"
#include "lanes.h"
#include "numbers.h"

// mov, cvt and cvta.

namespace cuda_mock {

namespace {

enum Rounding : uint8_t { Nearest, ToZero, Down, Up, Saturates = 8 };

bool is_floating(Type type) { return type >= Type::F16; }

template <class T> T value_of(uint64_t raw) {
    if constexpr (sizeof(T) == 8)
        return from_slot<T>(raw);
    else
        return from_slot<T>(uint32_t(raw));
}

double rounded(uint8_t how, double value) {
    switch (how & 7) {
        case ToZero: return std::trunc(value);
        case Down: return std::floor(value);
        case Up: return std::ceil(value);
        default: return std::nearbyint(value);
    }
}

template <class To> To to_integer(uint8_t how, double value) {
    if (std::isnan(value)) return 0;
    value = rounded(how, value);
    if (value <= double(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
    if (value >= double(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    return To(value);
}

template <class From, class To> void floating_to_integer(Warp& warp, const Instruction& in, uint32_t lanes) {
    for_lanes(lanes, [&](int lane) {
        write_any(warp, in.to[0], lane, uint64_t(int64_t(to_integer<To>(in.variant, double(value_of<From>(read_any(warp, in.from[0], lane)))))));
    });
}

template <class From, class To> void integer_to_floating(Warp& warp, const Instruction& in, uint32_t lanes) {
    for_lanes(lanes, [&](int lane) {
        const From value = value_of<From>(read_any(warp, in.from[0], lane));
        if constexpr (sizeof(To) == 2)
            write_any(warp, in.to[0], lane, to_slot<To>(To(float(value))));
        else
            write_any(warp, in.to[0], lane, to_slot<To>(To(value)));
    });
}

template <class From, class To> void integer_to_integer(Warp& warp, const Instruction& in, uint32_t lanes) {
    for_lanes(lanes, [&](int lane) {
        const From value = value_of<From>(read_any(warp, in.from[0], lane));
        To result = To(value);
        if (in.variant & Saturates) {
            const __int128 wide = value;
            result = To(std::clamp(wide, __int128(std::numeric_limits<To>::min()), __int128(std::numeric_limits<To>::max())));
        }
        write_any(warp, in.to[0], lane, uint64_t(int64_t(result)));
    });
}

// A conversion to the own type rounds to an integer, or saturates to 0..1.
template <class From, class To, bool to_integers> void floating_to_floating(Warp& warp, const Instruction& in, uint32_t lanes) {
    for_lanes(lanes, [&](int lane) {
        const From from = value_of<From>(read_any(warp, in.from[0], lane));
        To to;
        if constexpr (to_integers)
            to = To(float(rounded(in.variant, double(from))));
        else if constexpr (sizeof(From) == 8 && sizeof(To) == 2)
            to = To(float(from));
        else
            to = To(from);
        if (in.variant & Saturates) to = To(std::isnan(float(to)) ? 0.0f : std::clamp(float(to), 0.0f, 1.0f));
        write_any(warp, in.to[0], lane, to_slot<To>(to));
    });
}

template <class T> void pack_pair(Warp& warp, const Instruction& in, uint32_t lanes) {
    map2<float>(warp, in, lanes, [](float high, float low) { return Pair<T>{T(low), T(high)}; });
}

// The 10 upper bits of the fraction, to the nearest.
void to_tf32(Warp& warp, const Instruction& in, uint32_t lanes) {
    map1<uint32_t>(warp, in, lanes, [](uint32_t bits) { return (bits & 0x7F800000) == 0x7F800000 ? bits : (bits + 0x1000) & ~0x1FFFu; });
}

template <class F> Handler by_any_integer(Type type, F&& choose) {
    if (type == Type::S8) return choose(int8_t{});
    if (type == Type::U8 || type == Type::B8) return choose(uint8_t{});
    return by_integer(type, choose);
}

template <class F> Handler by_floating(Type type, F&& choose) {
    switch (type) {
        case Type::F16: return choose(Half{});
        case Type::BF16: return choose(Bfloat{});
        case Type::F32: return choose(float{});
        case Type::F64: return choose(double{});
        default: return nullptr;
    }
}

Handler conversion(const Opcode& opcode, Instruction& in) {
    const Type to = opcode.type(1), from = opcode.type(0);
    if (opcode.has("relu") || opcode.has("satfinite")) return nullptr;
    const bool to_integers = opcode.has("rni") || opcode.has("rzi") || opcode.has("rmi") || opcode.has("rpi");
    in.variant = uint8_t((opcode.has("rzi")   ? ToZero
                          : opcode.has("rmi") ? Down
                          : opcode.has("rpi") ? Up
                                              : Nearest) |
                         (opcode.has("sat") ? Saturates : 0));
    if (to == Type::F16x2 && from == Type::F32 && opcode.has("rn")) return pack_pair<Half>;
    if (to == Type::BF16x2 && from == Type::F32 && opcode.has("rn")) return pack_pair<Bfloat>;
    if (to == Type::TF32) return to_tf32;
    if (opcode.has("rz") || opcode.has("rm") || opcode.has("rp")) return nullptr;
    if (is_floating(from) && is_floating(to))
        return by_floating(from, [&](auto a) -> Handler {
            return by_floating(to, [&](auto b) -> Handler {
                using From = decltype(a);
                using To = decltype(b);
                return to_integers ? floating_to_floating<From, To, true> : floating_to_floating<From, To, false>;
            });
        });
    if (is_floating(from))
        return by_floating(from, [&](auto a) -> Handler {
            return by_any_integer(to, [](auto b) -> Handler { return floating_to_integer<decltype(a), decltype(b)>; });
        });
    if (is_floating(to))
        return by_any_integer(from, [&](auto a) -> Handler {
            return by_floating(to, [](auto b) -> Handler { return integer_to_floating<decltype(a), decltype(b)>; });
        });
    return by_any_integer(
        from, [&](auto a) -> Handler { return by_any_integer(to, [](auto b) -> Handler { return integer_to_integer<decltype(a), decltype(b)>; }); });
}

void copy(Warp& warp, const Instruction& in, uint32_t lanes) {
    for_lanes(lanes, [&](int lane) { write_any(warp, in.to[0], lane, read_any(warp, in.from[0], lane)); });
}

// `variant` is the bits of a part.
void pack(Warp& warp, const Instruction& in, uint32_t lanes) {
    const uint64_t mask = (uint64_t(1) << in.variant) - 1;
    for_lanes(lanes, [&](int lane) {
        uint64_t whole = 0;
        for (int i = 0; i < in.from_count; i++)
            whole |= (read_any(warp, in.from[i], lane) & mask) << (i * in.variant);
        write_any(warp, in.to[0], lane, whole);
    });
}

void unpack(Warp& warp, const Instruction& in, uint32_t lanes) {
    const uint64_t mask = (uint64_t(1) << in.variant) - 1;
    for_lanes(lanes, [&](int lane) {
        const uint64_t whole = read_any(warp, in.from[0], lane);
        for (int i = 0; i < in.to_count; i++)
            write_any(warp, in.to[i], lane, whole >> (i * in.variant) & mask);
    });
}

Handler move(const Opcode& opcode, Instruction& in) {
    const int parts = std::max(in.to_count, in.from_count);
    in.variant = uint8_t(8 * size_of(opcode.type()) / parts);
    return in.from_count > 1 ? pack : in.to_count > 1 ? unpack : copy;
}

void to_shared(Warp& warp, const Instruction& in, uint32_t lanes) {
    for_lanes(lanes, [&](int lane) { write_any(warp, in.to[0], lane, read_any(warp, in.from[0], lane) & 0xFFFFFFFF); });
}
template <uint64_t base> void to_generic(Warp& warp, const Instruction& in, uint32_t lanes) {
    for_lanes(lanes, [&](int lane) { write_any(warp, in.to[0], lane, base + read_any(warp, in.from[0], lane)); });
}

Handler address_conversion(const Opcode& opcode) {
    if (opcode.has("global") || opcode.has("const")) return copy;
    if (opcode.has("to")) return to_shared;  // of a local address, too: what remains is the offset
    if (opcode.has("shared")) return to_generic<kSharedBase>;
    return opcode.has("local") ? to_generic<kLocalBase> : nullptr;
}

}  // namespace

Handler convert_handler(const Opcode& opcode, Instruction& in) {
    if (opcode.name == "mov") return move(opcode, in);
    if (opcode.name == "cvt") return conversion(opcode, in);
    if (opcode.name == "cvta") return address_conversion(opcode);
    return nullptr;
}

}  // namespace cuda_mock
