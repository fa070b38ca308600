#include <cmath>
#include <map>

#include "handlers.h"
#include "lanes.h"
#include "numbers.h"

// setp, selp, and set.

namespace cuda_mock {

namespace {

enum Comparison : uint8_t { Eq, Ne, Lt, Le, Gt, Ge, Equ, Neu, Ltu, Leu, Gtu, Geu, Num, Nan };
enum Combination : uint8_t { Alone, WithAnd = 16, WithOr = 32, WithXor = 48 };

template <class T> bool compare(uint8_t how, T a, T b) {
    bool unordered = false;
    if constexpr (std::is_floating_point_v<T>) unordered = std::isnan(a) || std::isnan(b);
    switch (how) {
        case Eq: return !unordered && a == b;
        case Ne: return !unordered && a != b;
        case Lt: return a < b;
        case Le: return a <= b;
        case Gt: return a > b;
        case Ge: return a >= b;
        case Equ: return unordered || a == b;
        case Neu: return unordered || a != b;
        case Ltu: return unordered || a < b;
        case Leu: return unordered || a <= b;
        case Gtu: return unordered || a > b;
        case Geu: return unordered || a >= b;
        case Num: return !unordered;
        default: return unordered;
    }
}

bool combine(uint8_t how, bool result, bool other) {
    switch (how) {
        case WithAnd: return result && other;
        case WithOr: return result || other;
        case WithXor: return result != other;
        default: return result;
    }
}

template <class T, class As> void set_predicates(Warp& warp, const Instruction& in, uint32_t lanes) {
    const auto *a = slots<T>(warp, in.from[0]), *b = slots<T>(warp, in.from[1]);
    const uint32_t* other = in.from_count > 2 ? slots<uint32_t>(warp, in.from[2]) : nullptr;
    const uint8_t how = in.variant & 15, combined = in.variant & 48;
    for_lanes(lanes, [&](int lane) {
        const bool result = compare<As>(how, As(from_slot<T>(a[lane])), As(from_slot<T>(b[lane])));
        const bool with = other != nullptr && other[lane] != 0;
        write_any(warp, in.to[0], lane, combine(combined, result, with));
        if (in.to_count > 1) write_any(warp, in.to[1], lane, combine(combined, !result, with));
    });
}

template <class T> void select(Warp& warp, const Instruction& in, uint32_t lanes) {
    auto* to = slots<T>(warp, in.to[0]);
    const auto *a = slots<T>(warp, in.from[0]), *b = slots<T>(warp, in.from[1]);
    const auto* which = slots<uint32_t>(warp, in.from[2]);
    for_lanes(lanes, [&](int lane) { to[lane] = which[lane] != 0 ? a[lane] : b[lane]; });
}

}  // namespace

Handler compare_handler(const Opcode& opcode, Instruction& in) {
    const Type type = opcode.type();
    if (opcode.name == "selp") return size_of(type) == 8 ? select<uint64_t> : select<uint32_t>;
    if (opcode.name != "setp") return nullptr;
    static const std::map<std::string, uint8_t> comparisons{{"eq", Eq},   {"ne", Ne},   {"lt", Lt},   {"le", Le},   {"gt", Gt},   {"ge", Ge},
                                                            {"lo", Lt},   {"ls", Le},   {"hi", Gt},   {"hs", Ge},   {"equ", Equ}, {"neu", Neu},
                                                            {"ltu", Ltu}, {"leu", Leu}, {"gtu", Gtu}, {"geu", Geu}, {"num", Num}, {"nan", Nan}};
    const auto found = comparisons.find(opcode.modifiers.at(0));
    if (found == comparisons.end()) return nullptr;
    in.variant = uint8_t(found->second | (opcode.has("and") ? WithAnd : opcode.has("or") ? WithOr : opcode.has("xor") ? WithXor : Alone));
    if (type == Type::F32) return set_predicates<float, float>;
    if (type == Type::F64) return set_predicates<double, double>;
    if (type == Type::F16) return set_predicates<Half, float>;
    if (type == Type::BF16) return set_predicates<Bfloat, float>;
    return by_integer(type, [](auto tag) -> Handler { return set_predicates<decltype(tag), decltype(tag)>; });
}

}  // namespace cuda_mock
