// Eviction: which rows of a sequence stay, and their move into pages of their own.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "cache.h"
#include "kernels/codec.h"

namespace deltastore {

static constexpr float kUnknown = -1;

// A mean weight from 0 to 1 in eighths of an octave, 2^-31.75 and less as 1; 0 is not known.
static uint8_t mean_code(float mean) {
    if (mean < 0) return 0;
    return uint8_t(std::lround(std::min(std::max(255 + 8 * std::log2(mean), 1.0f), 255.0f)));
}

static float mean_of_code(uint8_t code) {
    return code == 0 ? kUnknown : std::exp2((code - 255) / 8.0f);
}

// The rows of a table that may go, in order of position.
struct Cache::Judged {
    std::vector<float> means, scores;  // [row]; means may be kUnknown
    std::vector<char> stays;           // [row]
    int fixed = 0;                     // rows besides these
    int needed = 0;                    // of these, the first that have to stay
};

// Whether another sequence holds the page too. Parts of one's own that show it as well are neighbours; where a shift parted them, the page
// counts as shared.
bool Cache::shared(int sequence, int table, const PageRef& reference) const {
    const PageTable& own = sequences_.table(sequence, table);
    const PageRef *first = &reference, *last = &reference;
    while (first != own.data() && (first - 1)->page == reference.page) first--;
    while (last + 1 != own.data() + own.size() && (last + 1)->page == reference.page) last++;
    uint32_t known = uint32_t(last - first + 1);
    if (const auto held = held_.empty() ? held_.end() : held_.find(reference.page); held != held_.end()) known += held->second;
    return pool_.references(reference.page) > known;
}

bool Cache::shared_now(int sequence, int table, const PageRef& reference) const {
    std::lock_guard<std::mutex> guard(mutex_);
    return shared(sequence, table, reference);
}

// The end of the pages at the sequence's beginning that others hold too, in any table.
int32_t Cache::shared_end(int sequence) const {
    int32_t end = sequences_.first_position(sequence);
    for (int table = 0; table < sequences_.tables(); table++)
        for (const PageRef& reference : sequences_.table(sequence, table)) {
            if (!shared(sequence, table, reference)) break;
            end = std::max(end, reference.end_position());
        }
    return end;
}

bool Cache::may_go(int sequence, int table, const PageRef& reference, int32_t window_begin) const {
    const bool stored = tier(sequence).packs() ? format_info(reference.format).packed : reference.format == tier(sequence).format;
    return !reference.pinned() && stored && reference.end_position() <= window_begin &&
           !shared(sequence, table, reference);
}

bool Cache::eviction_due(int sequence) const {
    if (!tier(sequence).eviction) return false;
    std::lock_guard<std::mutex> guard(mutex_);
    return sequences_.last_position(sequence) + 1 - sequences_.extent(sequence).until >= tier(sequence).eviction->slack;
}

Cache::Judged Cache::judge(int sequence, int table, const Scorer& scorer, int32_t own_begin, int32_t window_begin) const {
    const Watch* watch = tier(sequence).evicts_by_watch() ? &watches_[sequence] : nullptr;  // others' sums are not of all queries
    const bool last_ones = watch != nullptr && tier(sequence).watched() == WatchedQueries::last;
    const int32_t end = sequences_.last_position(sequence) + 1, sinks_end = sequences_.first_position(sequence) + tier(sequence).sinks;
    const LayerShape& shape = options_.layers[layer_of_[table]];
    const float group = float(std::max(1, shape.query_heads / shape.kv_heads));
    Judged judged;
    std::vector<int32_t> positions;
    std::vector<float> queries, norms;
    double known = 0;
    size_t known_rows = 0;
    for (const PageRef& reference : sequences_.table(sequence, table)) {
        if (!may_go(sequence, table, reference, window_begin)) {
            if (reference.position >= own_begin) judged.fixed += reference.count;
            continue;
        }
        const PageLayout& layout = sequences_.layout(table, reference);
        int32_t at[kPageRows];
        sequences_.row_positions(table, reference, at);
        for (int r = 0; r < reference.count; r++) {
            const int32_t position = at[r];
            const float seen = float(last_ones ? watch->queries() : end - position);
            float mean = kUnknown;
            if (reference.gapped()) mean = mean_of_code(reference.page[layout.received + reference.begin + r]);
            else if (watch != nullptr && position >= watch->begin() && position < watch->end())
                mean = *watch->sum(table, position) * kWatchUnit / (seen * group);
            if (mean >= 0) {
                known += mean;
                known_rows++;
            }
            positions.push_back(position);
            queries.push_back(seen);
            norms.push_back(value_norm(reference.format, sequences_.shape(table), reference.page, layout, reference.begin + r));
            judged.means.push_back(mean);
        }
    }
    // Rows that no query was watched for (from a state file, or moved) count as average ones.
    std::vector<float> attention = judged.means;
    for (float& mean : attention)
        if (mean < 0) mean = known_rows > 0 ? float(known / known_rows) : 1.0f;
    judged.scores.resize(attention.size());
    scorer.score({int(attention.size()), positions.data(), attention.data(), queries.data(), norms.data()}, judged.scores.data());
    for (; judged.needed < int(positions.size()) && positions[judged.needed] < sinks_end; judged.needed++)
        judged.scores[judged.needed] = std::numeric_limits<float>::infinity();
    return judged;
}

bool Cache::evict(int sequence, const Eviction& how) {
    std::lock_guard<std::mutex> guard(mutex_);
    if (sequences_.last_position(sequence) < 0) return true;
    account();
    sequences_.begin_eviction(sequence);
    const int32_t end = sequences_.last_position(sequence) + 1, window_begin = end - tier(sequence).window;
    const int32_t own_begin = shared_end(sequence);
    std::vector<Judged> tables;
    BudgetRequest request{int(options_.layers.size()), end - own_begin, how.keep, {}};
    for (int table = 0; table < sequences_.tables(); table++) {
        tables.push_back(judge(sequence, table, *how.scorer, own_begin, window_begin));
        const Judged& judged = tables.back();
        const int layer = layer_of_[table], group = options_.layers[layer].query_heads / options_.layers[layer].kv_heads;
        const float retrieval = heads_.score(layer, (table - first_table_[layer]) * group, group);
        request.tables.push_back({layer, judged.fixed, int(judged.scores.size()), judged.scores.data(), retrieval});
    }
    const std::vector<int> budgets = how.schedule->budgets(request);
    for (size_t table = 0; table < tables.size(); table++) {
        Judged& judged = tables[table];
        const int budget = std::max(budgets[table], judged.needed);
        std::vector<int> order(judged.scores.size());
        std::iota(order.begin(), order.end(), 0);
        std::nth_element(order.begin(), order.begin() + budget, order.end(), [&](int a, int b) {
            return judged.scores[a] != judged.scores[b] ? judged.scores[a] > judged.scores[b] : a > b;
        });
        judged.stays.resize(order.size());
        for (int i = 0; i < budget; i++) judged.stays[order[i]] = 1;
    }
    if (!rewrite(sequence, tables, window_begin)) return false;
    sequences_.end_eviction(sequence);
    return true;
}

// One table's new references, while its rows move.
struct Cache::Rewrite {
    PageTable result;
    PageRef open;          // a page with gaps that has room
    int32_t last = 0;      // position of its last row
    size_t row = 0;        // of Judged
    size_t next = 0;       // reference
    bool all_stay = false;
    bool stopped = false;  // for want of memory: what is left stays as it is
    int32_t first_watched = INT32_MAX;  // of the rows that go on to be

    void close() {
        if (open.page != nullptr) result.push_back(open);
        open = PageRef();
    }
    void stay(const PageRef& reference, bool watched) {
        close();
        if (watched && !reference.pinned() && !reference.gapped()) first_watched = std::min(first_watched, reference.position);
        result.push_back(reference);
    }
};

// Page by page through all tables at once, so that pages of the same age, which share slabs, go together.
bool Cache::rewrite(int sequence, const std::vector<Judged>& tables, int32_t window_begin) {
    std::vector<Rewrite> all(tables.size());
    for (size_t table = 0; table < tables.size(); table++) {
        // No memory is asked for once pages move.
        all[table].result.reserve(2 * sequences_.table(sequence, int(table)).size() + 2);
        const std::vector<char>& stays = tables[table].stays;
        all[table].all_stay = std::find(stays.begin(), stays.end(), 0) == stays.end();
    }
    for (bool more = true; more;) {
        more = false;
        for (int table = 0; table < int(tables.size()); table++) {
            Rewrite& rewrite = all[table];
            const PageTable& references = sequences_.table(sequence, table);
            if (rewrite.next == references.size()) continue;
            more = true;
            const PageRef& reference = references[rewrite.next++];
            if (!may_go(sequence, table, reference, window_begin)) {
                rewrite.stay(reference, !shared(sequence, table, reference));
                continue;
            }
            const char* stays = tables[table].stays.data() + rewrite.row;
            const float* means = tables[table].means.data() + rewrite.row;
            rewrite.row += reference.count;
            if (rewrite.stopped || rewrite.all_stay) rewrite.stay(reference, rewrite.stopped);
            else move_rows(table, reference, stays, means, rewrite);
        }
    }
    bool whole = true;
    int32_t first_watched = INT32_MAX;
    for (int table = 0; table < int(tables.size()); table++) {
        Rewrite& rewrite = all[table];
        rewrite.close();
        sequences_.table(sequence, table).swap(rewrite.result);
        sequences_.table(sequence, table).shrink_to_fit();
        whole = whole && !rewrite.stopped;
        first_watched = std::min(first_watched, rewrite.first_watched);
    }
    settle(sequence);
    watches_[sequence].drop_before(first_watched);
    return whole;
}

void Cache::settle(int sequence) {
    for (int table = 0; table < sequences_.tables(); table++)
        for (PageRef& reference : sequences_.table(sequence, table))
            if (pool_.references(reference.page) == 1) reference.page = pool_.settle(reference.page);
}

void Cache::move_rows(int table, const PageRef& reference, const char* stays, const float* means, Rewrite& rewrite) {
    const PageLayout& source = sequences_.layout(table, reference);
    PageRef& open = rewrite.open;
    int32_t positions[kPageRows];
    sequences_.row_positions(table, reference, positions);
    for (int r = 0; r < reference.count; r++) {
        if (!stays[r]) continue;
        const bool fits = open.page != nullptr && open.count < kPageRows && open.format == reference.format &&
                          open.centre == reference.centre && open.shift == reference.shift &&
                          positions[r] - rewrite.last - 1 <= kMostGap;
        if (!fits) {
            rewrite.close();
            open = reference;
            open.position = positions[r];
            open.begin = open.count = open.missing = 0;
            open.rows = kPageRows;
            open.kind = PageKind::gapped;
            open.page = sequences_.allocate(sequences_.layout(table, open));
            if (open.page == nullptr) {
                rewrite.stopped = true;
                rewrite.stay(sequences_.slice(table, reference, r, reference.count - r), true);
                break;
            }
            std::memset(open.page, 0, sequences_.layout(table, open).bytes);  // state files hold whole pages
            rewrite.last = positions[r] - 1;
        }
        const PageLayout& target = sequences_.layout(table, open);
        copy_row(reference.format, sequences_.shape(table), reference.page, source, reference.begin + r, open.page, target, open.count);
        open.page[target.gaps + open.count] = uint8_t(positions[r] - rewrite.last - 1);
        open.page[target.received + open.count] = mean_code(means[r]);
        open.count++;
        open.missing = uint16_t(positions[r] - open.position + 1 - open.count);
        rewrite.last = positions[r];
    }
    sequences_.release(reference);
}

}  // namespace deltastore
