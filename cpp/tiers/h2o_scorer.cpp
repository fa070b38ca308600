#include "scorer.h"

namespace deltastore {

// Attention received from all queries so far (Zhang et al. 2023, H2O, arXiv 2306.14048, section 4).
static void score(const Evidence& evidence, float* scores) {
    for (int i = 0; i < evidence.count; i++) scores[i] = evidence.attention[i] * evidence.queries[i];
}

const Scorer kH2oScorer = {"h2o", WatchedQueries::all, score};

}  // namespace deltastore
