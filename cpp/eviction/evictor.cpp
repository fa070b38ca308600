#include "evictor.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace deltastore {

bool Evictor::due(int sequence) const {
    const auto& eviction = tiers_.of(sequence).eviction;
    return eviction && sequences_.last_position(sequence) + 1 - sequences_.extent(sequence).until >= eviction->slack;
}

// Of rows that left the window, those that no other sequence holds: they would still take its memory.
bool Evictor::may_go(int sequence, int table, const PageRef& reference, int32_t window_begin) const {
    const Tier& tier = tiers_.of(sequence);
    const bool stored = tier.packs() ? reference.packed() : reference.format == tier.format;
    return !reference.pinned() && stored && reference.end_position() <= window_begin && !sharing_.shared(sequence, table, reference);
}

// What a row received from each of `seen` queries; kUnknown if it was not watched.
float Evictor::mean_attention(int sequence, int table, int32_t position, float seen) const {
    if (!tiers_.of(sequence).evicts_by_watch()) return kUnknown;  // others' sums are not of all queries
    const Watch& watch = watches_.of(sequence);
    if (position < watch.begin() || position >= watch.end()) return kUnknown;
    const float group = float(std::max(1, layers_[layers_.layer_of(table)].group()));
    return *watch.sum(table, position) * kWatchUnit / (seen * group);
}

Judged Evictor::judge(int sequence, int table, const Scorer& scorer, int32_t own_begin, int32_t window_begin) const {
    const Tier& tier = tiers_.of(sequence);
    const bool last_ones = tier.evicts_by_watch() && tier.watched() == WatchedQueries::last;
    const int32_t end = sequences_.last_position(sequence) + 1, sinks_end = sequences_.first_position(sequence) + tier.sinks;
    Judged judged;
    std::vector<int32_t> positions;
    std::vector<float> queries, norms;
    for (const PageRef& reference : sequences_.table(sequence, table)) {
        if (!may_go(sequence, table, reference, window_begin)) {
            if (reference.position >= own_begin) judged.fixed += reference.count;
            continue;
        }
        const Rows rows = sequences_.rows(table, reference);
        int32_t at[kPageRows];
        uint8_t received[kPageRows];
        float lengths[kPageRows];
        sequences_.row_positions(table, reference, at);
        if (reference.gapped()) sequences_.place().read(reference.page, rows.layout->received + reference.begin, reference.count, received);
        sequences_.place().run(MeasureValues{sequences_.shape(table), rows, lengths}, nullptr);
        for (int r = 0; r < reference.count; r++) {
            const float seen = float(last_ones ? watches_.of(sequence).queries() : end - at[r]);
            positions.push_back(at[r]);
            queries.push_back(seen);
            norms.push_back(lengths[r]);
            judged.means.push_back(reference.gapped() ? mean_of_code(received[r]) : mean_attention(sequence, table, at[r], seen));
        }
    }
    score(scorer, positions, queries, norms, judged);
    for (; judged.needed < int(positions.size()) && positions[judged.needed] < sinks_end; judged.needed++)
        judged.scores[judged.needed] = std::numeric_limits<float>::infinity();
    return judged;
}

// Rows that no query was watched for (from a state file, or moved) count as average ones.
void Evictor::score(const Scorer& scorer, const std::vector<int32_t>& positions, const std::vector<float>& queries, const std::vector<float>& norms,
                    Judged& judged) const {
    double known = 0;
    size_t known_rows = 0;
    for (const float mean : judged.means)
        if (mean >= 0) {
            known += mean;
            known_rows++;
        }
    std::vector<float> attention = judged.means;
    for (float& mean : attention)
        if (mean < 0) mean = known_rows > 0 ? float(known / known_rows) : 1.0f;
    judged.scores.resize(attention.size());
    scorer.score({int(attention.size()), positions.data(), attention.data(), queries.data(), norms.data()}, judged.scores.data());
}

// The `budget` best stay; of equal ones the newer.
static void choose(int budget, Judged& judged) {
    std::vector<int> order(judged.scores.size());
    std::iota(order.begin(), order.end(), 0);
    std::nth_element(order.begin(), order.begin() + budget, order.end(), [&](int a, int b) {
        return judged.scores[a] != judged.scores[b] ? judged.scores[a] > judged.scores[b] : a > b;
    });
    judged.stays.resize(order.size());
    for (int i = 0; i < budget; i++) judged.stays[order[i]] = 1;
}

bool Evictor::evict(int sequence, const Eviction& how) {
    sequences_.begin_eviction(sequence);
    const int32_t end = sequences_.last_position(sequence) + 1, window_begin = end - tiers_.of(sequence).window;
    const int32_t own_begin = sharing_.shared_end(sequence);
    std::vector<Judged> tables;
    BudgetRequest request{layers_.count(), end - own_begin, how.keep, {}};
    for (int table = 0; table < sequences_.tables(); table++) {
        tables.push_back(judge(sequence, table, *how.scorer, own_begin, window_begin));
        const Judged& judged = tables.back();
        const int layer = layers_.layer_of(table), group = layers_[layer].group();
        const float retrieval = heads_.score(layer, layers_.kv_head_of(table) * group, group);
        request.tables.push_back({layer, judged.fixed, int(judged.scores.size()), judged.scores.data(), retrieval});
    }
    const std::vector<int> budgets = how.schedule->budgets(request);
    for (size_t table = 0; table < tables.size(); table++) choose(std::max(budgets[table], tables[table].needed), tables[table]);
    const auto part_of = [&](int table, const PageRef& reference) {
        if (may_go(sequence, table, reference, window_begin)) return RowMover::Part::judged;
        return sharing_.shared(sequence, table, reference) ? RowMover::Part::shared : RowMover::Part::fixed;
    };
    const RowMover::Moved moved = mover_.move(sequence, tables, part_of);
    sequences_.settle(sequence);
    watches_.of(sequence).drop_before(moved.first_watched);
    if (moved.whole) sequences_.end_eviction(sequence);
    return moved.whole;
}

}  // namespace deltastore
