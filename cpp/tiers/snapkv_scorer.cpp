#include <algorithm>

#include "scorer.h"

namespace deltastore {

// Attention received from the last queries, and the largest of it among near rows, so that what stands around a row stays with it
// (Li et al. 2024, SnapKV, arXiv 2404.14469, section 4.2; a pooling kernel of 7 as there).
static void score(const Evidence& evidence, float* scores) {
    constexpr int kReach = 3;
    for (int i = 0; i < evidence.count; i++)
        scores[i] = *std::max_element(evidence.attention + std::max(0, i - kReach),
                                      evidence.attention + std::min(evidence.count, i + kReach + 1));
}

const Scorer kSnapkvScorer = {"snapkv", WatchedQueries::last, score};

}  // namespace deltastore
