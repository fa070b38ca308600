#include "run.h"

#include <immintrin.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>

#include "lanes.h"

namespace cuda_mock {

namespace {

/** Code that is compiled for speed takes subnormal numbers for 0. */
struct FlushSubnormals {
    unsigned before = _mm_getcsr();
    explicit FlushSubnormals(bool flushes) { _mm_setcsr(flushes ? before | 0x8040 : before & ~0x8040u); }
    ~FlushSubnormals() { _mm_setcsr(before); }
};

// What `bar.red` says to all threads of a block.
void join_predicates(std::vector<Warp>& warps) {
    const bool all = warps.front().next().variant == 1;
    bool result = all;
    for (Warp& warp : warps) {
        if (warp.state != Warp::State::AtBarrier) continue;
        const uint32_t* predicate = slots<uint32_t>(warp, warp.next().from[1]);
        for_lanes(warp.live, [&](int lane) { result = all ? result && predicate[lane] != 0 : result || predicate[lane] != 0; });
    }
    for (Warp& warp : warps)
        if (warp.state == Warp::State::AtBarrier) for_lanes(warp.live, [&](int lane) { write_any(warp, warp.next().to[0], lane, result); });
}

void run_block(std::vector<Warp>& warps, bool reverse) {
    for (;;) {
        bool ended = true;
        const Warp* waiting = nullptr;
        for (size_t i = 0; i < warps.size(); i++) {
            Warp& warp = warps[reverse ? warps.size() - 1 - i : i];
            if (warp.state == Warp::State::Running) warp.run();
            if (warp.state == Warp::State::AtBarrier) waiting = &warp;
            ended = ended && warp.state == Warp::State::Ended;
        }
        if (ended) return;
        if (waiting->next().variant != 0) join_predicates(warps);
        for (Warp& warp : warps)
            if (warp.state == Warp::State::AtBarrier) warp.pass_barrier();
    }
}

}  // namespace

void run(const Launch& launch) {
    const char* order = std::getenv("CUDA_MOCK_ORDER");
    const bool reverse = order != nullptr && std::string(order) == "reverse";
    const Program& program = launch.program;
    const uint32_t threads = launch.block.x * launch.block.y * launch.block.z, count = (threads + kLanes - 1) / kLanes;
    if (threads == 0 || threads > program.most_threads) throw KernelFault(program.name + ": a block of " + std::to_string(threads) + " threads");
    const FlushSubnormals flush(program.flushes_subnormals);
    const size_t stride = (program.register_bytes + 63) / 64 * 64;
    const std::unique_ptr<uint8_t, decltype(&std::free)> files(static_cast<uint8_t*>(std::aligned_alloc(64, std::max(stride * count, size_t(64)))),
                                                               std::free);
    std::fill_n(files.get(), stride * count, uint8_t(0xFF));
    std::vector<Warp> warps(count);
    Block block{launch, {}};
    const uint64_t blocks = uint64_t(launch.grid.x) * launch.grid.y * launch.grid.z;
    for (uint64_t i = 0; i < blocks; i++) {
        const uint64_t index = reverse ? blocks - 1 - i : i, rows = index / launch.grid.x;
        const Size3 at{uint32_t(index % launch.grid.x), uint32_t(rows % launch.grid.y), uint32_t(rows / launch.grid.y)};
        block.shared.assign(program.shared_bytes + launch.shared_bytes, 0xFF);
        for (uint32_t warp = 0; warp < count; warp++)
            warps[warp].start(block, warp, threads, at, files.get() + stride * warp);
        run_block(warps, reverse);
    }
}

}  // namespace cuda_mock
