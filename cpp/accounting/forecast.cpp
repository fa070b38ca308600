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

// Sequences of one kind: shared prefixes, or those that begin with one.
struct Holders {
    size_t count;
    size_t tokens;        // of each
    size_t evaluated;     // of these, by itself
    size_t shared;        // of these, in pages that the prefix holds too
    RowCounts rows;       // of each, without those
    bool evicted;
    bool scattered;       // pages of windows that are freed lie between others, so that about a slab of them stays
};

Holders unshared(const Tier& tier, const SlidingWindow& sliding, const Load& load, size_t count, size_t tokens) {
    const bool evicted = tier.eviction && tokens >= size_t(tier.eviction->slack), first_batch = count == 1 && tokens <= size_t(load.batch);
    return {count, tokens, tokens, 0, rows_of(tier, tokens, sliding), evicted, !evicted && !first_batch};
}

// Of a prefix that was evaluated by itself others take sinks and packed pages. Its newest rows each of them packs for itself.
Holders behind(const Holders& prefix, const Tier& tier, const SlidingWindow& sliding, const Load& load) {
    Holders holders = unshared(tier, sliding, load, size_t(load.sequences), load.tokens);
    const RowCounts head = rows_of(tier, prefix.tokens, {});
    holders.evaluated = load.tokens - prefix.tokens;
    holders.scattered = !prefix.evicted;
    holders.shared = head.sinks + head.packed;
    if (prefix.evicted) holders.evicted = holders.evaluated >= size_t(tier.eviction->slack);
    RowCounts& own = holders.rows;
    own.sinks -= std::min(own.sinks, head.sinks);
    own.packed -= std::min(own.packed, head.packed);
    own.kept = std::min(own.kept, own.packed);
    return holders;
}

// Shares of their own tokens that the tables' rows keep, where all rows are worth the same. [table]
std::vector<double> kept_shares(const Tier& tier, const Layers& layers, const Holders& holders) {
    std::vector<double> shares(layers.tables(), 1.0);
    if (!holders.evicted || holders.tokens == holders.shared) return shares;
    const int tokens = int(std::min<size_t>(holders.tokens - holders.shared, kSampleTokens));
    const std::vector<float> scores(tokens, 1.0f);
    BudgetRequest request{layers.count(), tokens, tier.eviction->keep, {}};
    for (int table = 0; table < layers.tables(); table++) request.tables.push_back({layers.layer_of(table), 0, tokens, scores.data(), 1.0f});
    const std::vector<int> budgets = tier.eviction->schedule->budgets(request);
    for (int table = 0; table < layers.tables(); table++) shares[table] = double(budgets[table]) / tokens;
    return shares;
}

// Pages of one size.
struct SizePages {
    size_t page_bytes;
    size_t used = 0;
    size_t freed = 0;    // that a sequence of the present kind used for a time: the next one takes them
    size_t touched = 0;  // the most that were in use
    size_t among = 0;    // freed ones that lie between used ones
};

// Pages by their size, and the lists of references to them.
class Holding {
public:
    void begin_kind() {
        for (SizePages& size : sizes_) size.freed = 0;
    }
    // `touched`: rows that were in such pages at a time. A slab keeps its freed pages as long as others are in use.
    void add_rows(const PageLayout& layout, size_t rows, size_t touched, size_t holders) {
        const auto same = [&](const SizePages& other) { return other.page_bytes == layout.bytes; };
        auto found = std::find_if(sizes_.begin(), sizes_.end(), same);
        if (found == sizes_.end()) found = sizes_.insert(found, {layout.bytes});
        const size_t used = pages(layout, rows);
        found->used += used * holders;
        found->freed += pages(layout, std::max(rows, touched)) - used;
        found->touched = std::max(found->touched, found->used + found->freed);
        references_ += used;
    }
    void scatter(const PageLayout& layout) {
        for (SizePages& size : sizes_)
            if (size.page_bytes == layout.bytes) size.among = PagePool::kSlabBytes / layout.bytes;
    }
    // The rows stand in others' pages.
    void refer_to(const PageLayout& layout, size_t rows) { references_ += pages(layout, rows); }
    // Of a table, whose references stand in a list of their own.
    void close_table(size_t holders) {
        lists_ += holders * (sizeof(PageTable) + with_room_to_grow(references_) * sizeof(PageRef));
        references_ = 0;
    }
    size_t bytes() const {
        size_t bytes = lists_;
        for (const SizePages& size : sizes_) bytes += PagePool::bytes_of(size.page_bytes, std::min(size.touched, size.used + size.among), size.touched);
        return bytes;
    }

private:
    static size_t pages(const PageLayout& layout, size_t rows) { return (rows + layout.rows - 1) / layout.rows; }

    std::vector<SizePages> sizes_;
    size_t references_ = 0;
    size_t lists_ = 0;
};

// Rows of the window's small pages at a time: while a batch is evaluated, its own last ones, and those that are still open from the batch before. Behind a
// shared prefix they begin a page of their own.
size_t touched_window_rows(const Tier& tier, const Holders& holders, size_t batch) {
    const size_t own = std::min(holders.evaluated, size_t(tier.window) + kPageRows - 1) + (holders.shared > 0 ? kWindowPageRows : 0);
    return holders.evaluated > batch ? holders.rows.open + own : own;
}

// Rows whose attention is watched, of a table.
size_t watched_rows(const Tier& tier, const Holders& holders) {
    if (tier.watched() == WatchedQueries::none) return 0;
    return tier.evicts_by_watch() && !holders.evicted ? holders.tokens - holders.shared : holders.rows.open;
}

// The rows of one cache: of the layers that attend to all tokens, or of those with a sliding window.
class CacheForecast {
public:
    CacheForecast(const Layers& layers, const Tier& tier, const SlidingWindow& sliding, size_t batch)
        : layers_(layers), tier_(tier), sliding_(sliding), batch_(batch) {}

    void add(const Holders& holders) {
        holding_.begin_kind();
        const std::vector<double> shares = kept_shares(tier_, layers_, holders);
        const size_t watched = watched_rows(tier_, holders);
        for (int table = 0; table < layers_.tables(); table++) {
            add_table(table, holders, shares[table]);
            if (watched > 0) sums_ += holders.count * (sizeof(std::vector<uint32_t>) + with_room_to_grow(watched) * sizeof(uint32_t));
        }
    }
    Forecast result() const {
        Forecast result = parts_;
        result.resident = holding_.bytes() + sums_;
        if (tier_.packs() && packs_)
            for (int table = 0; table < layers_.tables(); table++) result.resident += size_t(layers_.shape(table).key_dim) * sizeof(float);  // the centre
        return result;
    }

private:
    void add_table(int table, const Holders& holders, double share) {
        RowCounts rows = holders.rows;
        packs_ = packs_ || rows.packed > 0;
        if (share < 1) {
            const double kept = share * double(holders.tokens - holders.shared) - double(rows.sinks + rows.open);
            rows.kept = size_t(std::min(std::max(kept, 0.0), double(rows.packed)));
        }
        const auto layout = [&](Format format, int page_rows, bool gapped = false) { return page_layout(format, layers_.shape(table), page_rows, gapped); };
        const auto add = [&](size_t& part, const PageLayout& pages, size_t count, size_t touched) {
            part += (count + pages.rows - 1) / pages.rows * pages.bytes * holders.count;
            holding_.add_rows(pages, count, touched, holders.count);
        };
        if (rows.sinks > 0) add(parts_.sinks, layout(Format::f16, std::min(tier_.sinks, kPageRows)), rows.sinks, 0);
        const bool thinned = rows.kept < rows.packed && sliding_.sees_all();
        const size_t touched = std::min(rows.packed, sliding_.most_kept(holders.evaluated) + (sliding_.sees_all() ? 0 : batch_));
        add(parts_.packed, layout(tier_.format, kPageRows), thinned ? 0 : rows.kept, touched);
        if (thinned) add(parts_.packed, layout(tier_.format, kPageRows, true), rows.kept, 0);
        if (rows.open > 0) {
            const PageLayout& small = layout(tier_.window_format, kWindowPageRows);
            add(parts_.window, small, rows.open, touched_window_rows(tier_, holders, batch_));
            if (holders.scattered) holding_.scatter(small);
        }
        holding_.refer_to(layout(tier_.format, kPageRows), std::min(holders.shared, sliding_.most_kept(holders.tokens)));
        holding_.close_table(holders.count);
    }

    const Layers& layers_;
    const Tier& tier_;
    const SlidingWindow sliding_;
    const size_t batch_;
    Holding holding_;
    size_t sums_ = 0;
    Forecast parts_;
    bool packs_ = false;
};

Forecast cache_forecast(const Layers& layers, const Tier& tier, const Load& load, const SlidingWindow& sliding) {
    CacheForecast forecast(layers, tier, sliding, size_t(load.batch));
    if (load.shared == 0) forecast.add(unshared(tier, sliding, load, size_t(load.sequences), load.tokens));
    else {
        const Holders prefix = unshared(tier, sliding, load, size_t(load.groups), load.shared);
        forecast.add(prefix);
        forecast.add(behind(prefix, tier, sliding, load));
    }
    return forecast.result();
}

}  // namespace

size_t stock_bytes(const ModelShape& model, const Load& load) {
    const size_t cells = model.sliding.stock_cells(load.tokens, size_t(load.batch));
    const size_t rows = load.tokens * Layers(model.attention).stock_bytes_per_token() + cells * Layers(model.windows).stock_bytes_per_token();
    return load.sequences * (rows + model.state_bytes);
}

Forecast forecast(const ModelShape& model, const Tier& tier, const Load& load) {
    Tier window_tier = tier;
    window_tier.eviction.reset();
    Forecast all = cache_forecast(Layers(model.attention), tier, load, {});
    if (!model.windows.empty()) {
        const Forecast windows = cache_forecast(Layers(model.windows), window_tier, load, model.sliding);
        for (size_t Forecast::*part : {&Forecast::resident, &Forecast::sinks, &Forecast::window, &Forecast::packed}) all.*part += windows.*part;
    }
    all.resident += size_t(load.sequences + (load.shared > 0 ? load.groups : 0)) * model.state_bytes;  // a prefix has a state, too
    return all;
}

}  // namespace deltastore
