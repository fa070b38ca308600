#include <algorithm>

#include "handlers.h"
#include "lanes.h"

// Logic, shifts, fields of bits, byte permutations, and sums of products of bytes.

namespace cuda_mock {

namespace {

struct And {
    template <class T> T operator()(T a, T b) const { return a & b; }
};
struct Or {
    template <class T> T operator()(T a, T b) const { return a | b; }
};
struct Xor {
    template <class T> T operator()(T a, T b) const { return a ^ b; }
};

template <class F> Handler logic(Type type, F) {
    return by_integer(type, [](auto tag) -> Handler {
        using T = decltype(tag);
        return [](Warp& warp, const Instruction& in, uint32_t lanes) { map2<T>(warp, in, lanes, F{}); };
    });
}

template <bool left> Handler shift(Type type) {
    return by_integer(type, [](auto tag) -> Handler {
        using T = decltype(tag);
        return [](Warp& warp, const Instruction& in, uint32_t lanes) {
            constexpr uint32_t most = 8 * sizeof(T);
            auto* to = slots<T>(warp, in.to[0]);
            const auto* value = slots<T>(warp, in.from[0]);
            const auto* by = slots<uint32_t>(warp, in.from[1]);
            for_lanes(lanes, [&](int lane) {
                const T from = from_slot<T>(value[lane]);
                if (left)
                    to[lane] = to_slot<T>(by[lane] >= most ? T(0) : T(std::make_unsigned_t<T>(from) << by[lane]));
                else if (by[lane] >= most)
                    to[lane] = to_slot<T>(from < 0 ? T(-1) : T(0));
                else
                    to[lane] = to_slot<T>(T(from >> by[lane]));
            });
        };
    });
}

uint32_t permuted(uint32_t a, uint32_t b, uint32_t selector) {
    const uint64_t bytes = uint64_t(b) << 32 | a;
    uint32_t result = 0;
    for (int i = 0; i < 4; i++) {
        const uint32_t choice = selector >> (4 * i) & 15;
        uint32_t byte = bytes >> (8 * (choice & 7)) & 255;
        if (choice & 8) byte = byte & 128 ? 255 : 0;
        result |= byte << (8 * i);
    }
    return result;
}

template <class A, class B> int32_t dot(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t sum = c;
    for (int i = 0; i < 4; i++)
        sum += uint32_t(int32_t(A(a >> (8 * i))) * int32_t(B(b >> (8 * i))));
    return int32_t(sum);
}

Handler dot_handler(Type a, Type b) {
    const bool sa = a == Type::S32, sb = b == Type::S32;
    if (sa && sb) return [](Warp& w, const Instruction& in, uint32_t lanes) { map3<uint32_t, uint32_t>(w, in, lanes, dot<int8_t, int8_t>); };
    if (sa) return [](Warp& w, const Instruction& in, uint32_t lanes) { map3<uint32_t, uint32_t>(w, in, lanes, dot<int8_t, uint8_t>); };
    if (sb) return [](Warp& w, const Instruction& in, uint32_t lanes) { map3<uint32_t, uint32_t>(w, in, lanes, dot<uint8_t, int8_t>); };
    return [](Warp& w, const Instruction& in, uint32_t lanes) { map3<uint32_t, uint32_t>(w, in, lanes, dot<uint8_t, uint8_t>); };
}

template <class T> T field(T value, uint32_t from, uint32_t bits) {
    using U = std::make_unsigned_t<T>;
    constexpr uint32_t most = 8 * sizeof(T);
    from &= 255;
    bits &= 255;
    if (bits == 0) return 0;
    const uint32_t last = std::min(from + bits - 1, most - 1);
    const bool negative = std::is_signed_v<T> && (U(value) >> last & 1);
    if (from >= most) return negative ? T(-1) : T(0);
    const U kept = bits >= most ? ~U(0) : (U(1) << bits) - 1;
    U result = U(value) >> from & kept;
    const uint32_t present = last - from + 1;
    if (negative && present < most) result |= U(~uint64_t(0) << present);
    return T(result);
}

template <class T> T inserted(T what, T into, uint32_t at, uint32_t bits) {
    constexpr uint32_t most = 8 * sizeof(T);
    at &= 255;
    bits &= 255;
    if (at >= most || bits == 0) return into;
    const T mask = (bits >= most ? ~T(0) : (T(1) << bits) - 1) << at;
    return (into & ~mask) | (what << at & mask);
}

uint32_t bit_mask(uint32_t at, uint32_t bits) {
    if (at > 31 || bits == 0) return 0;
    return uint32_t((bits > 31 ? ~uint64_t(0) : (uint64_t(1) << bits) - 1) << at);
}

template <class T> void insert_fields(Warp& warp, const Instruction& in, uint32_t lanes) {
    auto* to = slots<T>(warp, in.to[0]);
    const auto *what = slots<T>(warp, in.from[0]), *into = slots<T>(warp, in.from[1]);
    const auto *at = slots<uint32_t>(warp, in.from[2]), *bits = slots<uint32_t>(warp, in.from[3]);
    for_lanes(lanes, [&](int lane) { to[lane] = inserted<T>(what[lane], into[lane], at[lane], bits[lane]); });
}

template <class T, class F> Handler count(F) {
    return [](Warp& warp, const Instruction& in, uint32_t lanes) { map1<T>(warp, in, lanes, [](T a) { return uint32_t(F{}(a)); }); };
}
struct Ones {
    uint64_t operator()(uint64_t a) const { return __builtin_popcountll(a); }
};
struct Zeros32 {
    uint32_t operator()(uint32_t a) const { return a == 0 ? 32 : __builtin_clz(a); }
};
struct Zeros64 {
    uint32_t operator()(uint64_t a) const { return a == 0 ? 64 : __builtin_clzll(a); }
};

template <bool left, bool clamps> uint32_t funnel(uint32_t low, uint32_t high, uint32_t by) {
    const uint32_t shift = clamps ? std::min(by, 32u) : by & 31;
    const uint64_t both = uint64_t(high) << 32 | low;
    return left ? uint32_t((both << shift) >> 32) : uint32_t(both >> shift);
}

void logic3(Warp& warp, const Instruction& in, uint32_t lanes) {
    auto* to = slots<uint32_t>(warp, in.to[0]);
    const uint32_t* from[4];
    for (int i = 0; i < 4; i++)
        from[i] = slots<uint32_t>(warp, in.from[i]);
    for_lanes(lanes, [&](int lane) {
        const uint32_t a = from[0][lane], b = from[1][lane], c = from[2][lane], table = from[3][lane];
        uint32_t result = 0;
        for (int i = 0; i < 8; i++)
            if (table >> i & 1) result |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
        to[lane] = result;
    });
}

uint32_t reversed(uint32_t value) {
    uint32_t result = 0;
    for (int i = 0; i < 32; i++)
        result |= (value >> i & 1) << (31 - i);
    return result;
}

Handler bit_field(const Opcode& opcode) {
    return by_integer(opcode.type(), [](auto tag) -> Handler {
        using T = decltype(tag);
        return [](Warp& warp, const Instruction& in, uint32_t lanes) {
            auto* to = slots<T>(warp, in.to[0]);
            const auto* value = slots<T>(warp, in.from[0]);
            const auto *at = slots<uint32_t>(warp, in.from[1]), *bits = slots<uint32_t>(warp, in.from[2]);
            for_lanes(lanes, [&](int lane) { to[lane] = to_slot<T>(field<T>(from_slot<T>(value[lane]), at[lane], bits[lane])); });
        };
    });
}

Handler funnel_shift(const Opcode& opcode) {
    const bool clamps = opcode.has("clamp");
    if (opcode.has("l"))
        return clamps ? Handler([](Warp& w, const Instruction& in, uint32_t lanes) { map3<uint32_t, uint32_t>(w, in, lanes, funnel<true, true>); })
                      : Handler([](Warp& w, const Instruction& in, uint32_t lanes) { map3<uint32_t, uint32_t>(w, in, lanes, funnel<true, false>); });
    return clamps ? Handler([](Warp& w, const Instruction& in, uint32_t lanes) { map3<uint32_t, uint32_t>(w, in, lanes, funnel<false, true>); })
                  : Handler([](Warp& w, const Instruction& in, uint32_t lanes) { map3<uint32_t, uint32_t>(w, in, lanes, funnel<false, false>); });
}

}  // namespace

Handler bits_handler(const Opcode& opcode, Instruction&) {
    const std::string& name = opcode.name;
    const Type type = opcode.type();
    const bool wide = size_of(type) == 8;
    if (name == "and") return logic(type, And{});
    if (name == "or") return logic(type, Or{});
    if (name == "xor") return logic(type, Xor{});
    if (name == "not" && type == Type::Pred)
        return [](Warp& w, const Instruction& in, uint32_t lanes) { map1<uint32_t>(w, in, lanes, [](uint32_t a) { return a ^ 1; }); };
    if (name == "not")
        return by_integer(type, [](auto tag) -> Handler {
            using T = decltype(tag);
            return [](Warp& w, const Instruction& in, uint32_t lanes) { map1<T>(w, in, lanes, [](T a) { return T(~a); }); };
        });
    if (name == "shl") return shift<true>(type);
    if (name == "shr") return shift<false>(type);
    if (name == "shf") return funnel_shift(opcode);
    if (name == "lop3") return logic3;
    if (name == "bfe") return bit_field(opcode);
    if (name == "bfi") return wide ? insert_fields<uint64_t> : insert_fields<uint32_t>;
    if (name == "bmsk" && opcode.has("clamp")) return [](Warp& w, const Instruction& in, uint32_t lanes) { map2<uint32_t>(w, in, lanes, bit_mask); };
    if (name == "brev" && !wide) return [](Warp& w, const Instruction& in, uint32_t lanes) { map1<uint32_t>(w, in, lanes, reversed); };
    if (name == "popc") return wide ? count<uint64_t>(Ones{}) : count<uint32_t>(Ones{});
    if (name == "clz") return wide ? count<uint64_t>(Zeros64{}) : count<uint32_t>(Zeros32{});
    if (name == "prmt" && opcode.modifiers.size() == 1)
        return [](Warp& w, const Instruction& in, uint32_t lanes) { map3<uint32_t, uint32_t>(w, in, lanes, permuted); };
    if (name == "dp4a") return dot_handler(opcode.type(1), opcode.type(0));
    return nullptr;
}

}  // namespace cuda_mock
