#include "warp.h"

#include <algorithm>

#include "lanes.h"

namespace cuda_mock {

static uint64_t special_value(Special special, const Launch& launch, uint32_t thread, uint32_t warp, Size3 at) {
    const Size3 &block = launch.block, &grid = launch.grid;
    const uint32_t lane = thread % kLanes;
    switch (special) {
        case Special::TidX: return thread % block.x;
        case Special::TidY: return thread / block.x % block.y;
        case Special::TidZ: return thread / block.x / block.y;
        case Special::NtidX: return block.x;
        case Special::NtidY: return block.y;
        case Special::NtidZ: return block.z;
        case Special::CtaidX: return at.x;
        case Special::CtaidY: return at.y;
        case Special::CtaidZ: return at.z;
        case Special::NctaidX: return grid.x;
        case Special::NctaidY: return grid.y;
        case Special::NctaidZ: return grid.z;
        case Special::Lane: return lane;
        case Special::LanesLe: return uint32_t((uint64_t(2) << lane) - 1);
        case Special::LanesLt: return (uint32_t(1) << lane) - 1;
        case Special::LanesGe: return ~((uint32_t(1) << lane) - 1);
        case Special::LanesGt: return ~uint32_t((uint64_t(2) << lane) - 1);
        case Special::Warp: return warp;
        case Special::Zero: return 0;
    }
    return 0;
}

void Warp::start(Block& its_block, uint32_t warp_index, uint32_t threads, Size3 block_index, uint8_t* register_file) {
    block = &its_block;
    registers = register_file;
    const Program& program = block->launch.program;
    for (const Program::Constant& constant : program.constants)
        for (int lane = 0; lane < kLanes; lane++)
            write_any(*this, {constant.offset, constant.wide}, lane, constant.value);
    for (const Program::SpecialRegister& special : program.specials)
        for (int lane = 0; lane < kLanes; lane++)
            write_any(*this, {special.offset, special.wide}, lane,
                      special_value(special.special, block->launch, warp_index * kLanes + lane, warp_index, block_index));
    local.assign(size_t(program.local_bytes) * kLanes, 0xFF);
    const uint32_t lanes = std::min(threads - warp_index * kLanes, uint32_t(kLanes));
    live = lanes == kLanes ? ~0u : (1u << lanes) - 1;
    groups_ = {{0, live, false}};
    state = State::Running;
}

const Instruction& Warp::next() const { return block->launch.program.code[groups_.front().at]; }

void Warp::pass_barrier() {
    groups_.front().at++;
    state = State::Running;
}

uint32_t Warp::guarded(const Instruction& in, uint32_t lanes) const {
    if (in.guard < 0) return lanes;
    const auto* predicate = reinterpret_cast<const uint32_t*>(registers + in.guard);
    uint32_t bits = 0;
    for (int lane = 0; lane < kLanes; lane++)
        bits |= (predicate[lane] & 1) << lane;
    return lanes & (in.guard_negated ? ~bits : bits);
}

void Warp::sort_groups() {
    std::sort(groups_.begin(), groups_.end(), [](const Group& a, const Group& b) { return a.at < b.at; });
    std::vector<Group> merged;
    for (const Group& group : groups_) {
        if (group.lanes == 0) continue;
        if (!merged.empty() && merged.back().at == group.at) {
            merged.back().lanes |= group.lanes;
            merged.back().blocked = false;
        } else
            merged.push_back(group);
    }
    groups_.swap(merged);
}

void Warp::run() {
    for (;;) {
        sort_groups();
        if (groups_.empty()) {
            state = State::Ended;
            return;
        }
        const auto free = std::find_if(groups_.begin(), groups_.end(), [](const Group& group) { return !group.blocked; });
        if (free == groups_.end()) throw KernelFault("threads of a warp wait for each other: " + block->launch.program.texts[next().text]);
        const size_t index = size_t(free - groups_.begin());
        try {
            if (!step(index, index + 1 < groups_.size() ? groups_[index + 1].at : ~0u)) return;
        } catch (const KernelFault& fault) {
            const Program& program = block->launch.program;
            throw KernelFault(std::string(fault.what()) + ": `" + program.texts[program.code[groups_[index].at].text] + "` of " + program.name);
        }
    }
}

// Runs one group until it comes to where the next one waits, or to what concerns the order of lanes. False: the warp is at a barrier.
bool Warp::step(size_t index, uint32_t stop) {
    const Instruction* const code = block->launch.program.code.data();
    while (groups_[index].at < stop) {
        Group& group = groups_[index];
        const Instruction& in = code[group.at];
        if (in.kind == Kind::Plain) {
            const uint32_t lanes = guarded(in, group.lanes);
            if (lanes != 0) in.run(*this, in, lanes);
            group.at++;
            continue;
        }
        if (in.kind == Kind::Branch) {
            const uint32_t taken = guarded(in, group.lanes), rest = group.lanes & ~taken;
            if (rest == 0)
                group.at = in.target;
            else
                group.at++;
            if (taken != 0 && rest != 0) {
                group.lanes = rest;
                groups_.push_back({in.target, taken, false});
                return true;
            }
            if (groups_.size() > 1) return true;
            continue;
        }
        if (in.kind == Kind::Exit) {
            const uint32_t lanes = guarded(in, group.lanes);
            live &= ~lanes;
            group.lanes &= ~lanes;
            group.at++;
            for (Group& other : groups_)
                other.blocked = false;
            return true;
        }
        uint32_t needed = live;
        if (in.kind == Kind::WarpSync && in.members.offset >= 0) needed &= uint32_t(read_any(*this, in.members, __builtin_ctz(group.lanes)));
        if ((needed & ~group.lanes) != 0) {
            group.blocked = true;
            return true;
        }
        if (in.kind == Kind::Barrier) {
            state = State::AtBarrier;
            return false;
        }
        const uint32_t lanes = guarded(in, group.lanes);
        if (lanes != 0) in.run(*this, in, lanes);
        group.at++;
    }
    return true;
}

}  // namespace cuda_mock
