// The attention of a layer over the pages of each token's sequence, in items of work that threads take from a counter.
#pragma once

#include "observer.h"

namespace deltastore {

class Attention {
public:
    Attention(const Layers& layers, const SlidingWindow& sliding_window, bool rotate, const Kernels& kernels, const SequenceTable& sequences,
              const PageAttention& pages, const Observer& observer)
        : layers_(layers), sliding_window_(sliding_window), rotate_(rotate), kernels_(kernels), sequences_(sequences), pages_(pages),
          observer_(observer) {}

    // A thread's part of an attention over a layer's rows: of the next one that the thread has not begun. `scratch` has room for a group's buffers.
    void attend(int layer, const AttentionInput& input, Plan& plan, int thread, uint8_t* scratch) const;

private:
    // A group's part of a layer.
    struct Group {
        int layer;
        int attention;
        int kv_head;
        int block;  // of the plan
        const AttentionInput& input;
    };

    void run_item(const Group& group, Plan& plan, int only_run, uint8_t* scratch) const;
    QueryBlock prepare(const Group& group, const Plan& plan, GroupBuffers& buffers) const;
    void attend_run(const Group& group, const Block& block, int run, const QueryBlock& queries, GroupBuffers& buffers, CentreScores& scores) const;
    bool finish_run(const Group& group, Plan& plan, int run, int count, GroupBuffers& buffers) const;
    void write_output(const Group& group, const Block& block, int count, const float* total) const;

    const Layers& layers_;
    const SlidingWindow sliding_window_;
    const bool rotate_;
    const Kernels& kernels_;
    const SequenceTable& sequences_;
    const PageAttention& pages_;
    const Observer& observer_;
};

}  // namespace deltastore
