// What a row is worth to later queries. Scorers see one layer and KV head at a time; the scores of different ones need not compare.
#pragma once

#include <cstdint>

#include "watched_queries.h"

namespace deltastore {

// What is known of the rows that may go, in order of position. A row's attention is watched until an eviction lets it stay; what is known then
// counts from there on. If all rows of its head stayed, nothing was noted, and they count as average ones.
struct Evidence {
    int count;
    const int32_t* positions;
    const float* attention;    // received from a watched query that could see the row, 0 to 1, on average
    const float* queries;      // watched queries that could see it
    const float* value_norms;  // length of the row's value vector, to a common factor
};

struct Scorer {
    const char* name;
    WatchedQueries watch;
    void (*score)(const Evidence& evidence, float* scores);
};

extern const Scorer kAttentionScorer;
extern const Scorer kH2oScorer;
extern const Scorer kSnapkvScorer;
extern const Scorer kRecencyScorer;

// nullptr if there is none of this name.
const Scorer* scorer_by_name(const char* name);

}  // namespace deltastore
