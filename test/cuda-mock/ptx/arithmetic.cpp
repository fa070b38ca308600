#include <cfenv>
#include <type_traits>

#include "handlers.h"
#include "lanes.h"
#include "numbers.h"
#include "operations.h"

// add, sub, mul, mad, fma, div, rem, min, max, neg, abs, and the approximated functions, which are computed by the C library.

namespace cuda_mock {

namespace {

template <class F> Handler map_float1(F) {
    return [](Warp& warp, const Instruction& in, uint32_t lanes) { map1<float>(warp, in, lanes, F{}); };
}

template <class T, class F> T through_float(F f, T a, T b) { return T(f(float(a), float(b))); }

template <class T, class F> Handler map_pairs(F) {
    return [](Warp& warp, const Instruction& in, uint32_t lanes) {
        map2<Pair<T>>(warp, in, lanes,
                      [](Pair<T> a, Pair<T> b) { return Pair<T>{through_float(F{}, a.low, b.low), through_float(F{}, a.high, b.high)}; });
    };
}

template <class T, class F> Handler map_small(F) {
    return [](Warp& warp, const Instruction& in, uint32_t lanes) { map2<T>(warp, in, lanes, [](T a, T b) { return through_float(F{}, a, b); }); };
}

template <class F> Handler floating2(const Opcode& opcode, F f) {
    switch (opcode.type()) {
        case Type::F16: return map_small<Half>(f);
        case Type::BF16: return map_small<Bfloat>(f);
        case Type::F16x2: return map_pairs<Half>(f);
        case Type::BF16x2: return map_pairs<Bfloat>(f);
        case Type::F32:
            if (opcode.has("rz"))
                return [](Warp& warp, const Instruction& in, uint32_t lanes) {
                    const int before = std::fegetround();
                    std::fesetround(FE_TOWARDZERO);
                    map2<float>(warp, in, lanes, [](float a, float b) {
                        volatile float x = a, y = b;
                        return F{}(float(x), float(y));
                    });
                    std::fesetround(before);
                };
            return [](Warp& warp, const Instruction& in, uint32_t lanes) { map2<float>(warp, in, lanes, F{}); };
        case Type::F64: return [](Warp& warp, const Instruction& in, uint32_t lanes) { map2<double>(warp, in, lanes, F{}); };
        default: return nullptr;
    }
}

template <class F> Handler integer2(Type type, F) {
    return by_integer(type, [](auto tag) -> Handler {
        using T = decltype(tag);
        return [](Warp& warp, const Instruction& in, uint32_t lanes) { map2<T>(warp, in, lanes, F{}); };
    });
}

// Wraps around, whatever the sign.
template <class F> Handler wrapping2(Type type, F) {
    return by_integer(type, [](auto tag) -> Handler {
        using T = std::make_unsigned_t<decltype(tag)>;
        return [](Warp& warp, const Instruction& in, uint32_t lanes) {
            map2<T>(warp, in, lanes, [](T a, T b) { return T(F{}(uint64_t(a), uint64_t(b))); });
        };
    });
}

template <class T> using Wide = std::conditional_t<sizeof(T) == 2, std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>,
                                                   std::conditional_t<sizeof(T) == 4, std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>,
                                                                      std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>>>;

template <class T> T high_product(T a, T b) { return T((Wide<T>(a) * Wide<T>(b)) >> (8 * sizeof(T))); }

Handler product(const Opcode& opcode) {
    const bool adds = opcode.name == "mad", wide = opcode.has("wide"), high = opcode.has("hi");
    return by_integer(opcode.type(), [=](auto tag) -> Handler {
        using T = decltype(tag);
        using U = std::make_unsigned_t<T>;
        if constexpr (sizeof(T) <= 4) {
            if (wide && adds)
                return [](Warp& warp, const Instruction& in, uint32_t lanes) {
                    map3<T, Wide<T>>(warp, in, lanes, [](T a, T b, Wide<T> c) { return Wide<T>(uint64_t(Wide<T>(a) * Wide<T>(b)) + uint64_t(c)); });
                };
            if (wide)
                return [](Warp& warp, const Instruction& in, uint32_t lanes) {
                    map2<T>(warp, in, lanes, [](T a, T b) { return Wide<T>(Wide<T>(a) * Wide<T>(b)); });
                };
        }
        if (high && adds)
            return [](Warp& warp, const Instruction& in, uint32_t lanes) {
                map3<T, T>(warp, in, lanes, [](T a, T b, T c) { return T(U(high_product(a, b)) + U(c)); });
            };
        if (high)
            return [](Warp& warp, const Instruction& in, uint32_t lanes) { map2<T>(warp, in, lanes, [](T a, T b) { return high_product(a, b); }); };
        if (adds)
            return [](Warp& warp, const Instruction& in, uint32_t lanes) {
                map3<U, U>(warp, in, lanes, [](U a, U b, U c) { return U(uint64_t(a) * b + c); });
            };
        return [](Warp& warp, const Instruction& in, uint32_t lanes) { map2<U>(warp, in, lanes, [](U a, U b) { return U(uint64_t(a) * b); }); };
    });
}

Handler fused(const Opcode& opcode) {
    switch (opcode.type()) {
        case Type::F32:
            return [](Warp& warp, const Instruction& in, uint32_t lanes) {
                map3<float, float>(warp, in, lanes, [](float a, float b, float c) { return std::fma(a, b, c); });
            };
        case Type::F64:
            return [](Warp& warp, const Instruction& in, uint32_t lanes) {
                map3<double, double>(warp, in, lanes, [](double a, double b, double c) { return std::fma(a, b, c); });
            };
        case Type::F16:
            return [](Warp& warp, const Instruction& in, uint32_t lanes) {
                map3<Half, Half>(warp, in, lanes, [](Half a, Half b, Half c) { return Half(double(a) * double(b) + double(c)); });
            };
        case Type::F16x2:
            return [](Warp& warp, const Instruction& in, uint32_t lanes) {
                map3<Pair<Half>, Pair<Half>>(warp, in, lanes, [](Pair<Half> a, Pair<Half> b, Pair<Half> c) {
                    return Pair<Half>{Half(double(a.low) * double(b.low) + double(c.low)), Half(double(a.high) * double(b.high) + double(c.high))};
                });
            };
        case Type::BF16x2:
            return [](Warp& warp, const Instruction& in, uint32_t lanes) {
                map3<Pair<Bfloat>, Pair<Bfloat>>(warp, in, lanes, [](Pair<Bfloat> a, Pair<Bfloat> b, Pair<Bfloat> c) {
                    return Pair<Bfloat>{Bfloat(float(double(a.low) * double(b.low) + double(c.low))),
                                        Bfloat(float(double(a.high) * double(b.high) + double(c.high)))};
                });
            };
        default: return nullptr;
    }
}

Handler function1(const std::string& name, Type type) {
    if (type != Type::F32) return nullptr;
    if (name == "neg") return map_float1(Neg{});
    if (name == "abs") return map_float1(AbsFloat{});
    if (name == "rcp") return map_float1(Rcp{});
    if (name == "rsqrt") return map_float1(Rsqrt{});
    if (name == "sqrt") return map_float1(Sqrt{});
    if (name == "ex2") return map_float1(Exp2{});
    if (name == "lg2") return map_float1(Log2{});
    if (name == "sin") return map_float1(Sin{});
    if (name == "cos") return map_float1(Cos{});
    if (name == "tanh") return map_float1(Tanh{});
    return nullptr;
}

template <class F> Handler signed1(Type type, F) {
    return by_integer(type, [](auto tag) -> Handler {
        using T = decltype(tag);
        return [](Warp& warp, const Instruction& in, uint32_t lanes) { map1<T>(warp, in, lanes, F{}); };
    });
}

}  // namespace

Handler arithmetic_handler(const Opcode& opcode, Instruction&) {
    const std::string& name = opcode.name;
    const Type type = opcode.type();
    const bool floating = type >= Type::F16;
    if (opcode.has("cc") || opcode.has("sat")) return nullptr;
    if (name == "add") return floating ? floating2(opcode, Add{}) : wrapping2(type, Add{});
    if (name == "sub") return floating ? floating2(opcode, Sub{}) : wrapping2(type, Sub{});
    if (name == "mul") return floating ? floating2(opcode, Mul{}) : product(opcode);
    if (name == "mad") return floating ? fused(opcode) : product(opcode);
    if (name == "fma") return fused(opcode);
    if (name == "div") return floating ? floating2(opcode, Div{}) : integer2(type, Div{});
    if (name == "rem") return integer2(type, Rem{});
    if (name == "min") return floating ? floating2(opcode, Min{}) : integer2(type, Min{});
    if (name == "max") return floating ? floating2(opcode, Max{}) : integer2(type, Max{});
    if (name == "copysign" && type == Type::F32)
        return [](Warp& warp, const Instruction& in, uint32_t lanes) { map2<float>(warp, in, lanes, CopySign{}); };
    if (name == "neg" && !floating) return signed1(type, Neg{});
    if (name == "abs" && !floating) return signed1(type, Abs{});
    if (name == "rcp" && type == Type::F64)
        return [](Warp& warp, const Instruction& in, uint32_t lanes) { map1<double>(warp, in, lanes, [](double a) { return 1 / a; }); };
    return function1(name, type);
}

}  // namespace cuda_mock
