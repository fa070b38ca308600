// Plans of a reserved batch's ubatches, one of which is computed at a time.
#pragma once

#include <cstdlib>
#include <memory>
#include <vector>

#include "accounting/accounting.h"
#include "plan.h"
#include "watching/retrieval_heads.h"
#include "watching/watches.h"

namespace deltastore {

class Planner {
public:
    Planner(const Layers& layers, const Tiers& tiers, SequenceTable& sequences, const Centres& centres, Watches& watches,
            RetrievalHeads& heads)
        : layers_(layers), tiers_(tiers), sequences_(sequences), centres_(centres), watches_(watches), heads_(heads) {}

    // What new rows of a sequence are, and what is taken from their keys.
    Accounting::Append rows_to_come(int sequence, int32_t position, int count) const;

    // All under the cache's lock, as Cache has them.
    Failure reserve(const std::vector<std::vector<Token>>& ubatches, Accounting& accounting);
    void start(int index, int threads);
    void abandon();

    // The ubatch under way; null if there is none.
    Plan* current() const { return current_ < 0 ? nullptr : plans_[current_].get(); }
    // A thread's memory for a group's buffers, or for a page's keys and values; null if the ubatch was started for fewer threads.
    uint8_t* scratch(int thread) const { return thread < int(scratch_.size()) ? scratch_[thread].memory.get() : nullptr; }

private:
    struct FreeDelete {
        void operator()(uint8_t* memory) const { std::free(memory); }
    };
    struct Scratch {
        std::unique_ptr<uint8_t[], FreeDelete> memory;
        size_t bytes = 0;
    };

    bool append(const std::vector<Token>& tokens);
    void drop(const Plan& plan);
    void cut_into_blocks(Plan& plan, int most_group) const;
    void cut_into_items(Plan& plan, size_t partial_floats) const;
    void make_scratch(size_t bytes, int threads);

    const Layers& layers_;
    const Tiers& tiers_;
    SequenceTable& sequences_;
    const Centres& centres_;
    Watches& watches_;
    RetrievalHeads& heads_;
    std::vector<std::unique_ptr<Plan>> plans_;
    std::vector<Scratch> scratch_;  // one a thread
    int current_ = -1;
};

}  // namespace deltastore
