#pragma once

#include <cstdint>
#include <vector>

#include "program.h"

namespace cuda_mock {

struct Size3 {
    uint32_t x = 1, y = 1, z = 1;
};

/** What a launch gives to each of its blocks. */
struct Launch {
    const Program& program;
    Size3 grid, block;
    uint32_t shared_bytes = 0;  // beside those that the program declares
    const uint8_t* parameters = nullptr;
};

/** Addresses of these spaces as generic ones. Below are the device's and the host's. */
constexpr uint64_t kSharedBase = uint64_t(1) << 56, kLocalBase = uint64_t(2) << 56;

struct Block {
    const Launch& launch;
    std::vector<uint8_t> shared;
};

/** 32 threads that run in step where their ways are the same. Threads that go apart meet again at the lowest place in the code. */
struct Warp {
    enum class State { Running, AtBarrier, Ended };

    /** Starts with the lanes of `threads`. */
    void start(Block& block, uint32_t warp_index, uint32_t threads, Size3 block_index, uint8_t* register_file);
    /** Runs until the warp is at a barrier or has ended. */
    void run();
    /** Goes on behind the barrier that it is at. */
    void pass_barrier();
    const Instruction& next() const;

    uint8_t* registers = nullptr;
    Block* block = nullptr;
    std::vector<uint8_t> local;
    uint32_t live = 0;
    State state = State::Ended;

private:
    struct Group {
        uint32_t at, lanes;
        bool blocked;
    };

    void sort_groups();
    bool step(size_t index, uint32_t stop);
    uint32_t guarded(const Instruction& in, uint32_t lanes) const;

    std::vector<Group> groups_;
};

}  // namespace cuda_mock
