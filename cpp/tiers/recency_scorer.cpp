#include "scorer.h"

namespace deltastore {

// The newest rows, and the sinks that are never evicted (Xiao et al. 2023, StreamingLLM, arXiv 2309.17453): a baseline.
static void score(const Evidence& evidence, float* scores) {
    for (int i = 0; i < evidence.count; i++) scores[i] = float(evidence.positions[i]);
}

const Scorer kRecencyScorer = {"recency", WatchedQueries::none, score};

}  // namespace deltastore
