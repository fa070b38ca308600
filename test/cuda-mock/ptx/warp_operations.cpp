#include "handlers.h"
#include "lanes.h"

// What lanes of a warp, or the warps of a block, do together: shuffles, votes, barriers.

namespace cuda_mock {

namespace {

enum Shuffle : uint8_t { Up, Down, Butterfly, Index };

template <int how> void shuffle(Warp& warp, const Instruction& in, uint32_t lanes) {
    const uint32_t* value = slots<uint32_t>(warp, in.from[0]);
    const uint32_t *by = slots<uint32_t>(warp, in.from[1]), *clamps = slots<uint32_t>(warp, in.from[2]);
    uint32_t results[kLanes];
    bool inside[kLanes];
    for_lanes(lanes, [&](int lane) {
        const int b = int(by[lane] & 31), clamp = int(clamps[lane] & 31), segment = int(clamps[lane] >> 8 & 31);
        const int highest = (lane & segment) | (clamp & ~segment), lowest = lane & segment;
        int from = how == Up ? lane - b : how == Down ? lane + b : how == Butterfly ? lane ^ b : lowest | (b & ~segment);
        inside[lane] = how == Up ? from >= highest : from <= highest;
        if (!inside[lane]) from = lane;
        results[lane] = value[from];
    });
    for_lanes(lanes, [&](int lane) {
        write_any(warp, in.to[0], lane, results[lane]);
        if (in.to_count > 1) write_any(warp, in.to[1], lane, inside[lane]);
    });
}

enum Vote : uint8_t { All, Any, Uniform, Ballot };

void vote(Warp& warp, const Instruction& in, uint32_t lanes) {
    const uint32_t* predicate = slots<uint32_t>(warp, in.from[0]);
    uint32_t ballot = 0;
    for_lanes(lanes, [&](int lane) { ballot |= uint32_t(predicate[lane] != 0) << lane; });
    const uint32_t result = in.variant == All       ? ballot == lanes
                            : in.variant == Any     ? ballot != 0
                            : in.variant == Uniform ? ballot == 0 || ballot == lanes
                                                    : ballot;
    for_lanes(lanes, [&](int lane) { write_any(warp, in.to[0], lane, result); });
}

void active_lanes(Warp& warp, const Instruction& in, uint32_t lanes) {
    for_lanes(lanes, [&](int lane) { write_any(warp, in.to[0], lane, lanes); });
}

template <class T, class F> void reduce(Warp& warp, const Instruction& in, uint32_t lanes, F&& join) {
    const auto* value = slots<T>(warp, in.from[0]);
    T all = from_slot<T>(value[__builtin_ctz(lanes)]);
    for_lanes(lanes & (lanes - 1), [&](int lane) { all = join(all, from_slot<T>(value[lane])); });
    for_lanes(lanes, [&](int lane) { write_any(warp, in.to[0], lane, to_slot<T>(all)); });
}

Handler reduction(const Opcode& opcode) {
    const bool sign = opcode.type() == Type::S32;
    if (opcode.has("add"))
        return [](Warp& w, const Instruction& in, uint32_t lanes) { reduce<uint32_t>(w, in, lanes, [](uint32_t a, uint32_t b) { return a + b; }); };
    if (opcode.has("max") && sign)
        return
            [](Warp& w, const Instruction& in, uint32_t lanes) { reduce<int32_t>(w, in, lanes, [](int32_t a, int32_t b) { return a > b ? a : b; }); };
    if (opcode.has("min") && sign)
        return
            [](Warp& w, const Instruction& in, uint32_t lanes) { reduce<int32_t>(w, in, lanes, [](int32_t a, int32_t b) { return a < b ? a : b; }); };
    return nullptr;
}

void nothing(Warp&, const Instruction&, uint32_t) {}

// The operand behind these is the member mask.
Handler with_members(Instruction& in, int operands, Handler handler) {
    in.kind = Kind::WarpSync;
    if (in.from_count > operands) in.members = in.from[operands];
    return handler;
}

}  // namespace

Handler warp_handler(const Opcode& opcode, Instruction& in) {
    const std::string& name = opcode.name;
    if (name == "shfl" && opcode.has("sync")) {
        if (opcode.has("up")) return with_members(in, 3, shuffle<Up>);
        if (opcode.has("down")) return with_members(in, 3, shuffle<Down>);
        return with_members(in, 3, opcode.has("bfly") ? shuffle<Butterfly> : shuffle<Index>);
    }
    if (name == "vote" && opcode.has("sync")) {
        in.variant = opcode.has("all") ? All : opcode.has("any") ? Any : opcode.has("uni") ? Uniform : Ballot;
        return with_members(in, 1, vote);
    }
    if (name == "redux" && opcode.has("sync")) return with_members(in, 1, reduction(opcode));
    if (name == "activemask") return active_lanes;
    if (name == "bar" && opcode.has("warp")) return with_members(in, 0, nothing);
    if (name == "bar" || name == "barrier") {
        const bool joins = opcode.has("red");
        if (opcode.has("arrive") || in.from_count > (joins ? 2 : 1) || (joins && opcode.has("popc"))) return nullptr;
        in.kind = Kind::Barrier;
        in.variant = !joins ? 0 : opcode.has("and") ? 1 : 2;
        return nothing;
    }
    if (name == "ret" || name == "exit") {
        in.kind = Kind::Exit;
        return nothing;
    }
    if (name == "trap") return [](Warp&, const Instruction&, uint32_t) { throw KernelFault("the kernel stopped itself"); };
    return nullptr;
}

}  // namespace cuda_mock
