// Which heads look things up: where a text comes again, they turn to its earlier occurrence. A few heads of a model do nearly all of it, so
// what stands in their rows is what can be asked for later (Wu et al. 2024, arXiv 2404.15574; Tang et al. 2024, RazorAttention,
// arXiv 2407.15891, finds them by repeating random tokens).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "byte_io.h"
#include "tiers/options.h"

namespace deltastore {

// Nothing is repeated here. Each query of a prompt is turned as if it came again far behind, and asked what weight it would then give to its own
// row and to the row after it, beside all that it saw. What a query looks for hardly depends on its position. So this finds heads that look back
// to the same token (echo) or to what followed it (induction). It is a property of the model, measured on the first queries that a context sees.
class RetrievalHeads {
public:
    static constexpr int kQueries = 1024;

    RetrievalHeads() = default;
    // `query_heads`: of each layer. `far_turns`: of each layer, what position does to a vector that moves far away, on average.
    RetrievalHeads(const std::vector<int>& query_heads, std::vector<Turn> far_turns);

    bool ready() const { return !sums_.empty(); }

    // Before a ubatch, with the number of its tokens that another one follows. False if enough were measured.
    bool wants(int queries);
    // From many threads. query: [key_dim], unrotated, scaled; turned: [key_dim], the same far away.
    void turn(int layer, const float* query, int key_dim, float* turned) const;
    // Weights from 0 to 1.
    void add(int layer, int query_head, float echo, float induction);

    // From 0 to 1: the mean weight of the strongest query head from `first` on. 0 if nothing was measured.
    float score(int layer, int first_query_head, int count) const;

    // What was measured: u32 queries, u32 query heads of all layers (0 if there is nothing), per query head 2 u64.
    void write(Writer& writer) const;
    // Takes that over where nothing was measured yet. Throws CodedError STATE_DAMAGED.
    void read(Reader& reader);

private:
    struct Sums {
        uint64_t echo = 0, induction = 0;  // integers, so that the order in which threads add does not matter
    };

    std::vector<std::vector<Sums>> sums_;  // [layer][query head]
    std::vector<Turn> turns_;              // [layer]
    int queries_ = 0;
};

}  // namespace deltastore
