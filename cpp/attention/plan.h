// A ubatch as the graph's two operations need it: where rows are written, and how the attention is cut into items of work.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "pages/page_ref.h"

namespace deltastore {

// A query's pages are summed in runs of this many, and then the runs in order, whoever computes them. So the result does not depend on the
// number of threads.
inline constexpr int kRunPages = 8;
inline constexpr int kBlockQueries = 64;  // that share the unpacking of a page, about

struct Token {
    int sequence;
    int32_t position;
};

// Tokens of one sequence at consecutive positions.
struct Span {
    int sequence;
    int first;  // token of the ubatch
    int count;
};

// A ubatch's part in a sequence. Its rows start at position `begin`; once it is computed, all rows before `end` are written. The newest `window`
// of them are not packed. With `spares_shared`, pages that other sequences hold are not either.
struct Written {
    int sequence;
    int32_t begin;
    int32_t end;
    int window;
    bool spares_shared = false;
};

// A block of tokens of one sequence, with all query heads of one KV head: a group. Its items are its runs, or one for all of them.
struct Block {
    int first;  // token
    int count;  // tokens
    int sequence;
    int runs;
};

struct Plan {
    std::vector<Token> tokens;
    std::vector<Span> spans;
    std::vector<Written> written;                     // one a sequence
    std::vector<std::vector<WriteSegment>> segments;  // [table]
    bool started = false;
    bool measures_heads = false;

    std::vector<Block> blocks;
    bool split = false;                    // whether runs are items of their own
    std::vector<int> item_block, item_run;  // per KV head; run -1 is all
    int most_runs = 1;
    size_t partial_floats = 0;              // of one run of a group
    std::vector<float> partials;            // [kv head][block][run][partial_floats]
    std::unique_ptr<std::atomic<int>[]> next_item;  // [attention]
    std::unique_ptr<std::atomic<int>[]> next_pack;  // [layer]; -1 until the first thread is done with the layer's attention
    std::unique_ptr<std::atomic<int>[]> runs_left;  // [attention][kv head][block]
    std::vector<int> begun;                         // [thread][layer]: attentions over the layer that the thread has begun
    int most_kv_heads = 0;
};

}  // namespace deltastore
