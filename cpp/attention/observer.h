// What is noted of a block's queries once their softmax is known: how much attention rows received, and which heads look things up.
#pragma once

#include "group_buffers.h"
#include "page_attention.h"
#include "plan.h"
#include "watching/retrieval_heads.h"
#include "rows_view.h"
#include "watching/watches.h"

namespace deltastore {

// From many threads, for groups that differ.
class Observer {
public:
    Observer(const Layers& layers, bool rotate, const Kernels& kernels, const Tiers& tiers, const SequenceTable& sequences, const Centres& centres,
             const PageAttention& pages, Watches& watches, RetrievalHeads& heads)
        : layers_(layers), rotate_(rotate), kernels_(kernels), tiers_(tiers), sequences_(sequences), centres_(centres), pages_(pages),
          watches_(watches), heads_(heads) {}

    // `buffers.total` has the block's softmax. May move the queries in the buffers; leaves `total` as it is.
    void observe(int layer, int kv_head, const AttentionInput& input, const Plan& plan, const Block& block, GroupBuffers& buffers,
                 const QueryBlock& queries) const;

private:
    void measure_heads(int layer, int kv_head, const AttentionInput& input, const Plan& plan, const Block& block, const float* maxima,
                       const float* sums, void* scratch) const;
    void watch(int layer, int kv_head, const Plan& plan, const Block& block, GroupBuffers& buffers, QueryBlock queries) const;
    void add_received(int table, int sequence, const QueryBlock& queries, CentreScores scores, void* scratch) const;

    const Layers& layers_;
    const bool rotate_;
    const Kernels& kernels_;
    const Tiers& tiers_;
    const SequenceTable& sequences_;
    const Centres& centres_;
    const PageAttention& pages_;
    Watches& watches_;
    RetrievalHeads& heads_;
};

}  // namespace deltastore
