// What a cache holds, counted.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "accounting.h"
#include "pages/sharing.h"

namespace deltastore {

struct SequenceStats {
    int id;
    std::string tier;
    int tokens;
    double kept;            // share of the tokens' rows that were not evicted
    size_t resident_bytes;  // a page that others hold too counts in parts
    size_t shared_bytes;    // of all pages that others hold too
};

struct CacheStats {
    size_t tokens = 0;
    size_t resident_bytes = 0;
    size_t peak_resident_bytes = 0;
    size_t stock_bytes = 0;  // what a 16-bit cache takes for the tokens
    size_t pages = 0;
    size_t kept_bytes = 0;                 // of kept prefixes, with their tables and states
    size_t state_bytes = 0;                // of these states
    std::vector<SequenceStats> sequences;  // without kept prefixes, as are tokens and stock_bytes
};

// What kept prefixes hold, in the sequences from `first_kept` on: their pages, as resident_bytes of a sequence, and their tables. Under the cache's lock.
size_t kept_bytes(const SequenceTable& sequences, int first_kept);
// Of a sequence's pages. One that others hold too counts in parts.
double page_bytes_of(const SequenceTable& sequences, int sequence);

// Under the cache's lock. Sequences from `first_kept` on hold kept prefixes.
CacheStats count_stats(const Layers& layers, const Tiers& tiers, const SequenceTable& sequences, const Sharing& sharing,
                       const Accounting& accounting, int first_kept);

// Most bytes that `tokens` in `sequences` sequences can hold, with a ubatch of `ubatch` tokens under way.
size_t projected_bytes(const CacheOptions& options, size_t tokens, int sequences, int ubatch);

}  // namespace deltastore
