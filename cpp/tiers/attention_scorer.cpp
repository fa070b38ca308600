#include "scorer.h"

namespace deltastore {

// What a row adds to the output of a query that sees it: its weight, on average, times the length of its value. Old rows don't win by
// having been seen by more queries.
static void score(const Evidence& evidence, float* scores) {
    for (int i = 0; i < evidence.count; i++) scores[i] = evidence.attention[i] * evidence.value_norms[i];
}

const Scorer kAttentionScorer = {"attention", WatchedQueries::all, score};

}  // namespace deltastore
