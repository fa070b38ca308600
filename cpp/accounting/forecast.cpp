#include "forecast.h"

#include <algorithm>

#include "pages/centres.h"
#include "pages/page_pool.h"
#include "pages/page_ref.h"

namespace deltastore {

namespace {

constexpr int kSampleTokens = 4096;  // on which a schedule is asked: what it gives are shares of the tokens

size_t with_room_to_grow(size_t count) {
    return count + count / 8;
}

// The rows of one table.
struct RowCounts {
    size_t sinks = 0, open = 0;  // `open`: in the window, and those that fill its last pages
    size_t packed = 0;           // that left it
    size_t kept = 0;             // of these
};

RowCounts rows_of(const Tier& tier, size_t tokens, const SlidingWindow& sliding) {
    RowCounts rows;
    const int sinks = tier.packs() ? std::min(std::max(tier.sinks, 0), kPageRows) : 0;
    const size_t gone = size_t(sliding.first_kept(int32_t(std::min<size_t>(tokens, INT32_MAX)), sinks));
    if (!tier.packs()) {
        rows.packed = tokens;
        rows.kept = tokens - gone;
        return rows;
    }
    rows.sinks = std::min<size_t>(sinks, tokens);
    const size_t rest = tokens - rows.sinks, window = size_t(tier.window);
    if (tokens >= size_t(kCentreRows) && rest > window) rows.packed = window == 0 ? rest : (rest - window) / kWindowPageRows * kWindowPageRows;
    rows.open = rest - rows.packed;
    rows.kept = rows.packed - std::min(rows.packed, gone - std::min(gone, rows.sinks));
    if (gone > 0) rows.sinks = 0;
    return rows;
}

bool evicted(const Tier& tier, const Load& load) {
    return tier.eviction && load.tokens >= size_t(tier.eviction->slack);
}

// Shares of the tokens that the tables' rows keep, where all rows are worth the same. [table]
std::vector<double> kept_shares(const Tier& tier, const Layers& layers, const Load& load) {
    std::vector<double> shares(layers.tables(), 1.0);
    if (!evicted(tier, load)) return shares;
    const int tokens = int(std::min<size_t>(load.tokens, kSampleTokens));
    const std::vector<float> scores(tokens, 1.0f);
    BudgetRequest request{layers.count(), tokens, tier.eviction->keep, {}};
    for (int table = 0; table < layers.tables(); table++) request.tables.push_back({layers.layer_of(table), 0, tokens, scores.data(), 1.0f});
    const std::vector<int> budgets = tier.eviction->schedule->budgets(request);
    for (int table = 0; table < layers.tables(); table++) shares[table] = double(budgets[table]) / tokens;
    return shares;
}

// Pages of one size.
struct SizePages {
    size_t page_bytes, used, touched;
};

// Pages by their size, and the lists of references to them.
class Holding {
public:
    explicit Holding(size_t sequences) : sequences_(sequences) {}

    // `touched`: rows that were in such pages at a time. A slab keeps its freed pages as long as others are in use.
    void add_rows(const PageLayout& layout, size_t rows, size_t touched) {
        const auto pages = [&](size_t count) { return (count + layout.rows - 1) / layout.rows; };
        const auto same = [&](const SizePages& other) { return other.page_bytes == layout.bytes; };
        auto found = std::find_if(sizes_.begin(), sizes_.end(), same);
        if (found == sizes_.end()) found = sizes_.insert(found, {layout.bytes, 0, 0});
        found->used += pages(rows) * sequences_;
        found->touched += pages(std::max(rows, touched)) * sequences_;
        references_ += pages(rows);
    }
    // Of a table, whose references stand in a list of their own.
    void close_table() {
        lists_ += sequences_ * (sizeof(PageTable) + with_room_to_grow(references_) * sizeof(PageRef));
        references_ = 0;
    }
    size_t bytes() const {
        size_t bytes = lists_;
        for (const SizePages& size : sizes_) bytes += PagePool::bytes_of(size.page_bytes, size.used, size.touched);
        return bytes;
    }

private:
    const size_t sequences_;
    std::vector<SizePages> sizes_;
    size_t references_ = 0;
    size_t lists_ = 0;
};

// Rows of the window's small pages at a time: while a batch is evaluated, its own last ones, and those that are still open from the batch before.
size_t touched_window_rows(const Tier& tier, const Load& load, size_t open) {
    const size_t own = std::min<size_t>(load.tokens, size_t(tier.window) + kPageRows - 1);
    return load.tokens > size_t(load.batch) ? open + own : own;
}

// Rows whose attention is watched, of a table.
size_t watched_rows(const Tier& tier, const Load& load, const RowCounts& rows) {
    if (tier.watched() == WatchedQueries::none) return 0;
    return tier.evicts_by_watch() && !evicted(tier, load) ? load.tokens : rows.open;
}

}  // namespace

size_t stock_bytes(const ModelShape& model, const Load& load) {
    const size_t cells = model.sliding.stock_cells(load.tokens, size_t(load.batch));
    const size_t rows = load.tokens * Layers(model.attention).stock_bytes_per_token() + cells * Layers(model.windows).stock_bytes_per_token();
    return load.sequences * (rows + model.state_bytes);
}

// Of one cache: the layers that attend to all tokens, or those with a sliding window.
static size_t cache_bytes(const Layers& layers, const Tier& tier, const Load& load, const SlidingWindow& sliding) {
    const RowCounts all = rows_of(tier, load.tokens, sliding);
    const std::vector<double> shares = kept_shares(tier, layers, load);
    const size_t watched = watched_rows(tier, load, all), sequences = size_t(load.sequences);
    Holding holding(sequences);
    size_t bytes = 0;
    for (int table = 0; table < layers.tables(); table++) {
        const HeadShape& shape = layers.shape(table);
        RowCounts rows = all;
        if (shares[table] < 1) {
            const double kept = shares[table] * double(load.tokens) - double(rows.sinks + rows.open);
            rows.kept = size_t(std::min(std::max(kept, 0.0), double(rows.packed)));
        }
        const auto layout = [&](Format format, int page_rows, bool gapped = false) { return page_layout(format, shape, page_rows, gapped); };
        if (rows.sinks > 0) holding.add_rows(layout(Format::f16, std::min(tier.sinks, kPageRows)), rows.sinks, 0);
        const bool thinned = rows.kept < rows.packed && sliding.sees_all();
        const size_t touched = std::min(rows.packed, sliding.most_kept(load.tokens) + (sliding.sees_all() ? 0 : load.batch));
        holding.add_rows(layout(tier.format, kPageRows), thinned ? 0 : rows.kept, touched);
        if (thinned) holding.add_rows(layout(tier.format, kPageRows, true), rows.kept, 0);
        if (rows.open > 0) holding.add_rows(layout(tier.window_format, kWindowPageRows), rows.open, touched_window_rows(tier, load, rows.open));
        holding.close_table();
        if (watched > 0) bytes += sequences * (sizeof(std::vector<uint32_t>) + with_room_to_grow(watched) * sizeof(uint32_t));
        if (all.packed > 0 && tier.packs()) bytes += size_t(shape.key_dim) * sizeof(float);  // the centre
    }
    return bytes + holding.bytes();
}

size_t packed_bytes(const ModelShape& model, const Tier& tier, const Load& load) {
    Tier window_tier = tier;
    window_tier.eviction.reset();
    const size_t windows = model.windows.empty() ? 0 : cache_bytes(Layers(model.windows), window_tier, load, model.sliding);
    return cache_bytes(Layers(model.attention), tier, load, {}) + windows + load.sequences * model.state_bytes;
}

}  // namespace deltastore
