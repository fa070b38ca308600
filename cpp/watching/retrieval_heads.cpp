#include "retrieval_heads.h"

#include <algorithm>

namespace deltastore {

static constexpr float kUnits = 1 << 24;  // of a weight

RetrievalHeads::RetrievalHeads(const std::vector<int>& query_heads, std::vector<Turn> far_turns) : turns_(std::move(far_turns)) {
    turns_.resize(query_heads.size());
    for (int heads : query_heads) sums_.emplace_back(heads);
}

bool RetrievalHeads::wants(int queries) {
    if (sums_.empty() || queries_ >= kQueries || queries == 0) return false;
    queries_ += queries;
    return true;
}

void RetrievalHeads::turn(int layer, const float* query, int key_dim, float* turned) const {
    if (turns_[layer] == nullptr) {
        std::copy(query, query + key_dim, turned);
        return;
    }
    std::fill(turned, turned + key_dim, 0.0f);
    const float* row = turns_[layer]->data();
    for (int d = 0; d < key_dim; d++, row += key_dim)
        for (int e = 0; e < key_dim; e++) turned[e] += query[d] * row[e];
}

void RetrievalHeads::add(int layer, int query_head, float echo, float induction) {
    Sums& sums = sums_[layer][query_head];
    __atomic_fetch_add(&sums.echo, uint64_t(echo * kUnits), __ATOMIC_RELAXED);
    __atomic_fetch_add(&sums.induction, uint64_t(induction * kUnits), __ATOMIC_RELAXED);
}

float RetrievalHeads::score(int layer, int first_query_head, int count) const {
    if (queries_ == 0) return 0;
    uint64_t most = 0;
    for (int h = first_query_head; h < first_query_head + count; h++)
        most = std::max({most, sums_[layer][h].echo, sums_[layer][h].induction});
    return float(most / (double(kUnits) * queries_));
}

void RetrievalHeads::write(Writer& writer) const {
    size_t count = 0;
    if (queries_ > 0)
        for (const auto& layer : sums_) count += layer.size();
    writer.number(uint32_t(queries_));
    writer.number(uint32_t(count));
    if (count == 0) return;
    for (const auto& layer : sums_)
        for (const Sums& sums : layer) {
            writer.number(sums.echo);
            writer.number(sums.induction);
        }
}

void RetrievalHeads::read(Reader& reader) {
    const int queries = int(reader.number<uint32_t>(0, 1u << 30, "number of measured queries"));
    std::vector<Sums> read(reader.number<uint32_t>(0, 1u << 20, "number of measured heads"));
    for (Sums& sums : read) {
        sums.echo = reader.number<uint64_t>();
        sums.induction = reader.number<uint64_t>();
    }
    size_t count = 0;
    for (const auto& layer : sums_) count += layer.size();
    if (queries_ > 0 || read.empty() || read.size() != count) return;
    queries_ = queries;
    auto next = read.begin();
    for (auto& layer : sums_)
        for (Sums& sums : layer) sums = *next++;
}

}  // namespace deltastore
