// Eviction: which rows of a sequence stay, and their move into pages of their own.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "cache.h"
#include "codec.h"

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

bool Cache::may_go(const PageRef& reference, int32_t window_begin) const {
    return !reference.pinned() && reference.format == options_.format && reference.end_position() <= window_begin;
}

bool Cache::eviction_due(int sequence) const {
    if (!options_.eviction) return false;
    std::lock_guard<std::mutex> guard(mutex_);
    return sequences_.last_position(sequence) + 1 - sequences_.extent(sequence).until >= options_.eviction->slack;
}

Cache::Judged Cache::judge(int sequence, int table, const Scorer& scorer, int32_t window_begin) const {
    const Watch* watch = this->watch(sequence);
    const bool last_ones = watch != nullptr && options_.eviction->scorer->watch == WatchedQueries::last;
    const int32_t end = sequences_.last_position(sequence) + 1, sinks_end = sequences_.first_position(sequence) + options_.sinks;
    const LayerShape& shape = options_.layers[layer_of_[table]];
    const float group = float(std::max(1, shape.query_heads / shape.kv_heads));
    Judged judged;
    std::vector<int32_t> positions;
    std::vector<float> queries, norms;
    double known = 0;
    size_t known_rows = 0;
    for (const PageRef& reference : sequences_.table(sequence, table)) {
        if (!may_go(reference, window_begin)) {
            judged.fixed += reference.count;
            continue;
        }
        const PageLayout& layout = sequences_.layout(table, reference);
        for (int r = 0; r < reference.count; r++) {
            const int32_t position = sequences_.row_position(table, reference, r);
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
    sequences_.begin_eviction(sequence);
    const int32_t end = sequences_.last_position(sequence) + 1, window_begin = end - options_.window;
    const int32_t tokens = end - sequences_.first_position(sequence);
    std::vector<Judged> tables;
    BudgetRequest request{int(options_.layers.size()), tokens, how.keep, {}};
    for (int table = 0; table < sequences_.tables(); table++) {
        tables.push_back(judge(sequence, table, *how.scorer, window_begin));
        const Judged& judged = tables.back();
        request.tables.push_back({layer_of_[table], judged.fixed, int(judged.scores.size()), judged.scores.data()});
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

// Page by page through all tables at once, so that pages of the same age, which share slabs, go together.
bool Cache::rewrite(int sequence, const std::vector<Judged>& tables, int32_t window_begin) {
    struct Progress {
        PageTable result;
        PageRef open;     // a page with gaps that has room
        size_t row = 0;   // of Judged
        size_t next = 0;  // reference
        bool stopped = false;
    };
    std::vector<Progress> all(tables.size());
    // No memory is asked for once pages move.
    for (size_t table = 0; table < tables.size(); table++) all[table].result.reserve(2 * sequences_.table(sequence, int(table)).size() + 2);
    const auto close = [](Progress& progress) {
        if (progress.open.page != nullptr) progress.result.push_back(progress.open);
        progress.open = PageRef();
    };
    bool whole = true;
    int32_t first_known = INT32_MAX;  // of the rows whose attention does not stand in their page
    for (bool more = true; more;) {
        more = false;
        for (int table = 0; table < int(tables.size()); table++) {
            Progress& progress = all[table];
            const PageTable& references = sequences_.table(sequence, table);
            if (progress.next == references.size()) continue;
            more = true;
            const PageRef& reference = references[progress.next++];
            const bool here = !progress.stopped && may_go(reference, window_begin);
            const char* stays = tables[table].stays.data() + progress.row;
            const float* means = tables[table].means.data() + progress.row;
            if (may_go(reference, window_begin)) progress.row += reference.count;
            const bool all_stay = here && std::find(stays, stays + reference.count, 0) == stays + reference.count;
            // Pages of others stay for their sake. A page of one's own moves even if it is whole: it would hold up a slab that others left.
            const auto stay = [&](const PageRef& rows) {
                if (!rows.pinned() && !rows.gapped()) first_known = std::min(first_known, rows.position);
                progress.result.push_back(rows);
            };
            if (!here || (all_stay && pool_.references(reference.page) > 1)) {
                close(progress);
                stay(reference);
                continue;
            }
            const PageLayout& source = sequences_.layout(table, reference);
            for (int r = 0; r < reference.count; r++) {
                if (!stays[r]) continue;
                const int32_t position = sequences_.row_position(table, reference, r);
                PageRef& open = progress.open;
                if (open.page != nullptr && (open.count == kPageRows || open.centre != reference.centre || open.shift != reference.shift ||
                                             position - open.position > kMostOffset))
                    close(progress);
                if (open.page == nullptr) {
                    open = reference;
                    open.position = position;
                    open.begin = open.count = open.missing = 0;
                    open.rows = kPageRows;
                    open.kind = PageKind::gapped;
                    open.page = sequences_.allocate(sequences_.layout(table, open));
                    if (open.page == nullptr) {  // what is left stays as it is
                        stay(sequences_.slice(table, reference, r, reference.count - r));
                        progress.stopped = true;
                        whole = false;
                        break;
                    }
                    std::memset(open.page, 0, sequences_.layout(table, open).bytes);  // state files hold whole pages
                }
                const PageLayout& target = sequences_.layout(table, open);
                copy_row(reference.format, sequences_.shape(table), reference.page, source, reference.begin + r, open.page, target, open.count);
                reinterpret_cast<uint16_t*>(open.page + target.offsets)[open.count] = uint16_t(position - open.position);
                open.page[target.received + open.count] = mean_code(means[r]);
                open.count++;
                open.missing = uint16_t(position - open.position + 1 - open.count);
            }
            sequences_.release(reference);
        }
    }
    for (int table = 0; table < int(tables.size()); table++) {
        close(all[table]);
        sequences_.table(sequence, table).swap(all[table].result);
        sequences_.table(sequence, table).shrink_to_fit();
    }
    if (!watches_.empty()) watches_[sequence].drop_before(first_known);
    return whole;
}

}  // namespace deltastore
