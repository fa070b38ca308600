// Eviction: which rows of a sequence stay.
#pragma once

#include "watching/retrieval_heads.h"
#include "watching/watches.h"
#include "judged.h"
#include "pages/sharing.h"
#include "row_mover.h"

namespace deltastore {

// All under the cache's lock.
class Evictor {
public:
    Evictor(const Layers& layers, const Tiers& tiers, SequenceTable& sequences, Watches& watches, const Sharing& sharing, const RetrievalHeads& heads)
        : layers_(layers), tiers_(tiers), sequences_(sequences), watches_(watches), sharing_(sharing), heads_(heads), mover_(sequences) {}

    bool due(int sequence) const;
    // As Cache::evict(). The pool is charged.
    bool evict(int sequence, const Eviction& how);

private:
    bool may_go(int sequence, int table, const PageRef& reference, int32_t window_begin) const;
    Judged judge(int sequence, int table, const Scorer& scorer, int32_t own_begin, int32_t window_begin) const;
    float mean_attention(int sequence, int table, int32_t position, float seen) const;
    void score(const Scorer& scorer, const std::vector<int32_t>& positions, const std::vector<float>& queries, const std::vector<float>& norms,
               Judged& judged) const;

    const Layers& layers_;
    const Tiers& tiers_;
    SequenceTable& sequences_;
    Watches& watches_;
    const Sharing& sharing_;
    const RetrievalHeads& heads_;
    RowMover mover_;
};

}  // namespace deltastore
