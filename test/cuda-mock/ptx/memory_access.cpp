#include "addresses.h"

#include <algorithm>
#include <cstring>

#include "../device/memory.h"
#include "handlers.h"
#include "lanes.h"

// ld, st, atom, red, and copies to shared memory, which are done at once.

namespace cuda_mock {

static const char* name_of(Space space) {
    static const char* names[] = {"generic", "global", "shared", "local", "parameter"};
    return names[int(space)];
}

uint8_t* bytes_at(Warp& warp, Space space, uint64_t address, int lane, uint32_t bytes) {
    const Program& program = warp.block->launch.program;
    const uint64_t window = address >> 56;
    if (space == Space::Generic) space = window == 1 ? Space::Shared : window == 2 ? Space::Local : Space::Global;
    const uint64_t offset = address & 0xFFFFFFFF;
    uint8_t* found = nullptr;
    if (address % bytes != 0) throw KernelFault(std::string("a misaligned ") + name_of(space) + " address");
    if (space == Space::Shared && offset + bytes <= warp.block->shared.size()) found = warp.block->shared.data() + offset;
    if (space == Space::Local && offset + bytes <= program.local_bytes) found = warp.local.data() + size_t(lane) * program.local_bytes + offset;
    if (space == Space::Param && offset + bytes <= program.parameter_bytes) found = const_cast<uint8_t*>(warp.block->launch.parameters) + offset;
    if (space == Space::Global) found = static_cast<uint8_t*>(device_bytes(address, bytes));
    if (found == nullptr) throw KernelFault(std::string("no such ") + name_of(space) + " address");
    return found;
}

uint64_t address_of(Warp& warp, const Instruction& in, int lane, int operand) {
    return read_any(warp, in.from[operand], lane) + uint64_t(in.address);
}

namespace {

template <class T> uint64_t widened(const uint8_t* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return uint64_t(int64_t(value));
}

template <class T> void load(Warp& warp, const Instruction& in, uint32_t lanes) {
    for_lanes(lanes, [&](int lane) {
        const uint8_t* bytes = bytes_at(warp, in.space, address_of(warp, in, lane), lane, uint32_t(sizeof(T) * in.to_count));
        for (int i = 0; i < in.to_count; i++)
            write_any(warp, in.to[i], lane, widened<T>(bytes + i * sizeof(T)));
    });
}

template <class T> void store(Warp& warp, const Instruction& in, uint32_t lanes) {
    const int count = in.from_count - 1;
    for_lanes(lanes, [&](int lane) {
        uint8_t* bytes = bytes_at(warp, in.space, address_of(warp, in, lane), lane, uint32_t(sizeof(T) * count));
        for (int i = 0; i < count; i++) {
            const T value = T(read_any(warp, in.from[i + 1], lane));
            std::memcpy(bytes + i * sizeof(T), &value, sizeof(T));
        }
    });
}

template <class T> Handler access(bool loads, bool sign) {
    if (!loads) return store<T>;
    return sign ? load<std::make_signed_t<T>> : load<T>;
}

enum Change : uint8_t { Add, Exchange, CompareExchange, Min, Max, And, Or, Xor };

template <class T> T changed(uint8_t how, T old, T a, T b) {
    switch (how) {
        case Add: return T(old + a);
        case Exchange: return a;
        case CompareExchange: return old == a ? b : old;
        case Min: return std::min(old, a);
        case Max: return std::max(old, a);
        default: break;
    }
    if constexpr (std::is_integral_v<T>)
        return how == And ? old & a : how == Or ? old | a : old ^ a;
    else
        return a;
}

template <class T> void change(Warp& warp, const Instruction& in, uint32_t lanes) {
    for_lanes(lanes, [&](int lane) {
        uint8_t* bytes = bytes_at(warp, in.space, address_of(warp, in, lane), lane, sizeof(T));
        T old;
        std::memcpy(&old, bytes, sizeof old);
        const T a = from_slot<T>(Slot<T>(read_any(warp, in.from[1], lane)));
        const T b = in.from_count > 2 ? from_slot<T>(Slot<T>(read_any(warp, in.from[2], lane))) : T{};
        const T now = changed<T>(in.variant, old, a, b);
        std::memcpy(bytes, &now, sizeof now);
        if (in.to_count > 0) write_any(warp, in.to[0], lane, to_slot<T>(old));
    });
}

Handler atomic(const Opcode& opcode, Instruction& in) {
    static const char* names[] = {"add", "exch", "cas", "min", "max", "and", "or", "xor"};
    const auto found = std::find_if(std::begin(names), std::end(names), [&](const char* name) { return opcode.has(name); });
    if (found == std::end(names)) return nullptr;
    in.variant = uint8_t(found - names);
    if (opcode.type() == Type::F32) return change<float>;
    if (size_of(opcode.type()) < 4) return nullptr;
    return by_integer(opcode.type(), [](auto tag) -> Handler { return change<decltype(tag)>; });
}

// `cp.async [to], [from], bytes` or with the bytes that are read, the rest being 0.
void copy_to_shared(Warp& warp, const Instruction& in, uint32_t lanes) {
    for_lanes(lanes, [&](int lane) {
        const uint32_t bytes = uint32_t(read_any(warp, in.from[2], lane));
        const uint32_t read = in.from_count > 3 ? uint32_t(read_any(warp, in.from[3], lane)) : bytes;
        uint8_t* to = bytes_at(warp, Space::Shared, read_any(warp, in.from[0], lane) + uint64_t(in.address), lane, bytes);
        std::memset(to, 0, bytes);
        if (read > 0) std::memcpy(to, bytes_at(warp, Space::Global, read_any(warp, in.from[1], lane) + in.second_address, lane, read), read);
    });
}

void nothing(Warp&, const Instruction&, uint32_t) {}

}  // namespace

Handler memory_handler(const Opcode& opcode, Instruction& in) {
    const std::string& name = opcode.name;
    if (name == "cp" && opcode.has("async")) {
        if (opcode.has("bulk") || opcode.has("mbarrier")) return nullptr;
        return opcode.has("shared") ? copy_to_shared : nothing;
    }
    if (name == "membar" || name == "fence" || name == "nanosleep" || name == "griddepcontrol" || name == "prefetch") return nothing;
    in.space = opcode.has("global") || opcode.has("const") ? Space::Global
               : opcode.has("shared")                      ? Space::Shared
               : opcode.has("local")                       ? Space::Local
               : opcode.has("param")                       ? Space::Param
                                                           : Space::Generic;
    if (name == "atom" || name == "red") return atomic(opcode, in);
    if (name != "ld" && name != "st") return nullptr;
    const bool loads = name == "ld", sign = opcode.type() >= Type::S8 && opcode.type() <= Type::S64;
    switch (size_of(opcode.type())) {
        case 1: return access<uint8_t>(loads, sign);
        case 2: return access<uint16_t>(loads, sign);
        case 4: return access<uint32_t>(loads, sign);
        default: return access<uint64_t>(loads, sign);
    }
}

}  // namespace cuda_mock
