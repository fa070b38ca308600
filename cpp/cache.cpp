#include "cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "kernels/codec.h"
#include "attention/plan.h"

namespace deltastore {

static std::vector<HeadShape> table_shapes(const std::vector<LayerShape>& layers) {
    std::vector<HeadShape> shapes;
    for (const LayerShape& layer : layers) shapes.insert(shapes.end(), layer.kv_heads, layer.head);
    return shapes;
}

Cache::Cache(CacheOptions options, const Kernels& kernels)
    : options_(std::move(options)),
      kernels_(kernels),
      pool_(options_.pool_limit),
      sequences_(pool_, table_shapes(options_.layers), options_.max_sequences + options_.kept_prefixes) {
    tiers_.push_back(&options_);
    for (const Tier& other : options_.others) tiers_.push_back(&other);
    tier_of_.resize(sequences_.sequences());
    for (size_t layer = 0; layer < options_.layers.size(); layer++) {
        first_table_.push_back(int(layer_of_.size()));
        for (int head = 0; head < options_.layers[layer].kv_heads; head++) {
            layer_of_.push_back(int(layer));
            centre_offset_.push_back(centre_floats_);
            centre_floats_ += options_.layers[layer].head.key_dim;
        }
    }
    watches_.assign(sequences_.sequences(), Watch(sequences_.tables()));
    if (options_.eviction) ready_heads(options_.far_turns);
    for (int sequence = 0; sequence < sequences_.sequences(); sequence++) set_tier(sequence, 0);
}

Cache::~Cache() = default;

int Cache::tier_index(const std::string& name) const {
    for (size_t i = 0; i < tiers_.size(); i++)
        if (tiers_[i]->name == name) return int(i);
    return -1;
}

void Cache::set_tier(int sequence, int index) {
    std::lock_guard<std::mutex> guard(mutex_);
    assign_tier(sequence, index);
}

void Cache::assign_tier(int sequence, int index) {
    const WatchedQueries before = tier(sequence).watched();
    tier_of_[sequence] = index;
    const Tier& own = tier(sequence);
    if (own.watched() != before) watches_[sequence] = Watch(sequences_.tables());
    // Rows that stay F16 can be packed later if there is a tier that packs: then sinks are kept apart.
    const bool may_pack = own.packs() || tiers_.size() > 1;
    sequences_.set_rules(sequence, may_pack ? own.sinks : 0, own.packs() ? own.window : -1);
}

void Cache::ready_heads(std::vector<Turn> far_turns) {
    std::lock_guard<std::mutex> guard(mutex_);
    std::vector<int> query_heads;
    for (const LayerShape& layer : options_.layers) query_heads.push_back(layer.query_heads);
    heads_ = RetrievalHeads(query_heads, std::move(far_turns));
}

Format Cache::open_format(int sequence) const {
    const Tier& own = tier(sequence);
    return !own.packs() || (own.window == 0 && own_centre_ >= 0) ? own.format : own.window_format;
}

// Within the limit there must be room to pack as well, and to evict: one page a table, before others are given back.
bool Cache::fits(PagePool::Demand demand, const std::vector<char>& tiers) const {
    for (int index = 0; index < int(tiers_.size()); index++) {
        const Tier& own = *tiers_[index];
        if (!tiers[index]) continue;
        for (const bool gapped : {false, true})
            if (gapped ? own.eviction.has_value() : own.packs())
                for (int table = 0; table < sequences_.tables(); table++)
                    demand.emplace_back(sequences_.layout(table, own.format, kPageRows, gapped).bytes, 1);
    }
    return pool_.fits(demand);
}

std::vector<char> Cache::tiers_in_use() const {
    std::vector<char> tiers(tiers_.size());
    for (int sequence = 0; sequence < sequences_.sequences(); sequence++)
        if (sequences_.last_position(sequence) >= 0) tiers[tier_of_[sequence]] = 1;
    return tiers;
}

Failure Cache::no_page() const {
    return pool_.hit_limit() ? Failure::pool_limit : Failure::out_of_memory;
}

size_t Cache::own_bytes() const {
    size_t bytes = sequences_.bookkeeping_bytes() + centres_.size() * centre_floats_ * sizeof(float);
    for (const Watch& watch : watches_) bytes += watch.bytes();
    return bytes;
}

void Cache::account(size_t tokens, size_t more) {
    pool_.set_held(own_bytes());
    size_t begun = 0;
    growing_bytes_ = 0;
    for (int sequence = 0; sequence < sequences_.sequences(); sequence++) {
        const size_t bytes = watches_[sequence].bytes();
        growing_bytes_ += bytes;
        if (bytes == 0 && tier(sequence).watched() != WatchedQueries::none) begun += Watch::least_bytes(sequences_.tables());
    }
    expected_bytes_ = begun + (own_centre_ < 0 && options_.rotate ? centre_floats_ * sizeof(float) : 0) + more;
    expect(tokens);
}

void Cache::expect(size_t tokens) {
    const size_t sums = tokens * sequences_.tables() * sizeof(uint32_t);
    pool_.set_reserved(expected_bytes_ + sums + (growing_bytes_ + sums) / 8);
}

void Cache::begin_admission() {
    std::lock_guard<std::mutex> guard(mutex_);
    admitted_.clear();
    admitted_tokens_ = 0;
    if (pool_.limit_bytes() == 0) return;
    admitted_tiers_ = tiers_in_use();
    account();
}

bool Cache::admit(int sequence, int32_t position, int count) {
    if (pool_.limit_bytes() == 0) return true;
    std::lock_guard<std::mutex> guard(mutex_);
    PagePool::Demand demand = admitted_;
    sequences_.add_demand(sequence, position, count, open_format(sequence), open_centre(sequence), demand);
    expect(admitted_tokens_ + count);
    std::vector<char> tiers = admitted_tiers_;
    tiers[tier_of_[sequence]] = 1;
    if (!fits(demand, tiers)) return false;
    admitted_ = demand;
    admitted_tiers_ = tiers;
    admitted_tokens_ += count;
    return true;
}

Failure Cache::reserve(const std::vector<std::vector<Token>>& ubatches) {
    std::lock_guard<std::mutex> guard(mutex_);
    plans_.clear();
    current_ = -1;
    size_t count = 0;
    for (const auto& tokens : ubatches) count += tokens.size();
    account(count);
    if (pool_.limit_bytes() != 0) {
        PagePool::Demand demand;
        std::vector<char> tiers = tiers_in_use();
        for (const auto& tokens : ubatches)
            for (size_t i = 0; i < tokens.size();) {
                const size_t first = i;
                while (i < tokens.size() && tokens[i].sequence == tokens[first].sequence) i++;
                const int sequence = tokens[first].sequence;
                tiers[tier_of_[sequence]] = 1;
                sequences_.add_demand(sequence, tokens[first].position, int(i - first), open_format(sequence), open_centre(sequence), demand);
            }
        if (!fits(demand, tiers)) return Failure::pool_limit;
    }
    for (const auto& tokens : ubatches) {
        auto plan = std::make_unique<Plan>();
        plan->tokens = tokens;
        plan->segments.resize(sequences_.tables());
        for (int i = 0; i < int(tokens.size()); i++) {
            const bool continues = !plan->spans.empty() && plan->spans.back().sequence == tokens[i].sequence &&
                                   tokens[i].position == tokens[i - 1].position + 1;
            if (continues) plan->spans.back().count++;
            else plan->spans.push_back({tokens[i].sequence, i, 1});
        }
        for (const Span& span : plan->spans) {
            const int32_t begin = tokens[span.first].position, end = begin + span.count;
            const auto same = [&](const Written& written) { return written.sequence == span.sequence; };
            const auto found = std::find_if(plan->written.begin(), plan->written.end(), same);
            if (found == plan->written.end()) plan->written.push_back({span.sequence, begin, end, tier(span.sequence).window});
            else found->end = std::max(found->end, end);
        }
        plans_.push_back(std::move(plan));
        for (const Span& span : plans_.back()->spans) {
            const int32_t position = tokens[span.first].position;
            if (!sequences_.append(span.sequence, position, span.count, span.first, open_format(span.sequence), open_centre(span.sequence),
                                   plans_.back()->segments)) {
                for (auto& reserved : plans_)
                    for (const Span& undo : reserved->spans)
                        erase_locked(undo.sequence, reserved->tokens[undo.first].position, INT32_MAX);
                plans_.clear();
                return no_page();
            }
        }
    }
    return Failure::none;
}

void Cache::abandon() {
    std::lock_guard<std::mutex> guard(mutex_);
    for (auto& plan : plans_) {
        if (plan->started) continue;
        for (const Span& span : plan->spans) erase_locked(span.sequence, plan->tokens[span.first].position, INT32_MAX);
    }
    plans_.clear();
    current_ = -1;
}

void Cache::write_keys(int layer, const RowsView& rows, int thread, int threads) {
    write(layer, true, rows, thread, threads);
}

void Cache::write_values(int layer, const RowsView& rows, int thread, int threads) {
    write(layer, false, rows, thread, threads);
}

static void copy_finite(const float* source, float* target, int count) {
    for (int i = 0; i < count; i++) {
        const float x = source[i];
        target[i] = x != x ? 0.0f : std::max(-65504.0f, std::min(65504.0f, x));
    }
}

void Cache::write(int layer, bool keys, const RowsView& rows, int thread, int threads) {
    const Plan& plan = *plans_[current_];
    const LayerShape& shape = options_.layers[layer];
    const int dim = keys ? shape.head.key_dim : shape.head.value_dim;
    int unit = 0;
    for (int head = 0; head < shape.kv_heads; head++) {
        const int table = table_index(layer, head);
        for (const WriteSegment& segment : plan.segments[table]) {
            if (unit++ % threads != thread) continue;
            const PageRef& target = segment.target;
            const PageLayout& layout = sequences_.layout(table, target);
            const float* centre = this->centre(target.centre, table);
            for (int i = 0; i < segment.count; i++) {
                const float* row = reinterpret_cast<const float*>(
                    reinterpret_cast<const uint8_t*>(rows.data) + (segment.token + i) * rows.token_stride + head * rows.head_stride);
                float finite[kMostDim];
                if (options_.rotate || format_info(target.format).coded) {
                    copy_finite(row, finite, dim);
                    if (options_.rotate) kernels_.rotate(finite, 1, dim, keys ? key_block(dim) : kValueBlock);
                    row = finite;
                }
                if (keys) deltastore::write_keys(kernels_, target.page, layout, target.format, shape.head, centre, segment.row + i, 1, row);
                else deltastore::write_values(kernels_, target.page, layout, target.format, shape.head, segment.row + i, 1, row);
            }
        }
    }
}

void Cache::clear() {
    for (int sequence = 0; sequence < sequences_.sequences(); sequence++) erase(sequence, 0, INT32_MAX);
}

void Cache::erase(int sequence, int32_t from, int32_t to) {
    std::lock_guard<std::mutex> guard(mutex_);
    erase_locked(sequence, from, to);
}

void Cache::erase_locked(int sequence, int32_t from, int32_t to) {
    sequences_.erase(sequence, from, to);
    watches_[sequence].erase(from, to);
    end_watch(sequence);
}

// With the last rows go the holes before them.
void Cache::end_watch(int sequence) {
    watches_[sequence].erase(sequences_.last_position(sequence) + 1, INT32_MAX);
}

void Cache::shift(int sequence, int32_t from, int32_t to, int32_t delta) {
    std::lock_guard<std::mutex> guard(mutex_);
    sequences_.shift(sequence, from, to, delta);
    watches_[sequence].shift(from, to, delta);
}

Failure Cache::fork(int source, int target, int32_t from, int32_t to) {
    std::lock_guard<std::mutex> guard(mutex_);
    account(0, sequences_.bookkeeping_bytes(source) + watches_[source].bytes());
    if (!pool_.fits({})) return Failure::pool_limit;
    if (sequences_.fork(source, target, from, to)) {
        if (source != target) {
            watches_[target] = tier(target).watched() == tier(source).watched() ? watches_[source] : Watch(sequences_.tables());
            watches_[target].erase(to, INT32_MAX);
            end_watch(target);
        }
        return Failure::none;
    }
    return no_page();
}

int32_t Cache::prefix_end(int source, int32_t end) const {
    std::lock_guard<std::mutex> guard(mutex_);
    if (sequences_.first_position(source) != 0 || sequences_.tables() == 0) return 0;
    end = std::min(end, sequences_.last_position(source) + 1);
    const Tier& own = tier(source);
    const int32_t window_begin = end - own.window;
    const PageTable& references = sequences_.table(source, 0);
    const auto kept_packed = [&](const PageRef& reference) {
        return format_info(reference.format).packed && reference.end_position() > window_begin && reference.position < end;
    };
    const Extent& extent = sequences_.extent(source);
    const bool thinned = extent.evicted && end < extent.until;  // after rows before `end` had left the window
    if (!thinned && (own.window == 0 || std::none_of(references.begin(), references.end(), kept_packed))) return end;
    return std::max(0, (window_begin - own.sinks) / kPageRows) * kPageRows + own.sinks;
}

int32_t Cache::first_position(int sequence) const {
    std::lock_guard<std::mutex> guard(mutex_);
    return sequences_.first_position(sequence);
}

int32_t Cache::last_position(int sequence) const {
    std::lock_guard<std::mutex> guard(mutex_);
    return sequences_.last_position(sequence);
}

bool Cache::has_shift(int sequence) const {
    std::lock_guard<std::mutex> guard(mutex_);
    return sequences_.has_shift(sequence);
}

Failure Cache::apply_shifts(const std::function<void(int, float*, int, int32_t)>& turn) {
    Failure result = Failure::none;
    for (int sequence = 0; sequence < sequences_.sequences(); sequence++) {
        std::lock_guard<std::mutex> guard(mutex_);
        if (!sequences_.has_shift(sequence)) continue;
        account();
        const Failure failure = apply_shifts(sequence, turn);
        if (failure != Failure::none) result = failure;  // the others go on
    }
    return result;
}

Failure Cache::apply_shifts(int sequence, const std::function<void(int, float*, int, int32_t)>& turn) {
    std::vector<float> keys;
    for (int table = 0; table < sequences_.tables(); table++) {
        PageTable& references = sequences_.table(sequence, table);
        for (PageRef& reference : references) {
            if (reference.shift == 0) continue;
            const HeadShape& shape = sequences_.shape(table);
            const PageLayout& layout = sequences_.layout(table, reference);
            const auto own = std::count_if(references.begin(), references.end(),
                                           [&](const PageRef& other) { return other.page == reference.page; });
            if (pool_.references(reference.page) > uint32_t(own)) {  // others read it: turn a copy
                uint8_t* copy = sequences_.allocate(layout);
                if (copy == nullptr) return no_page();
                std::memcpy(copy, reference.page, layout.bytes);
                sequences_.replace(reference, copy, reference.format, reference.rows, reference.begin);
            } else {
                pool_.changed(reference.page);
            }
            const float* centre = this->centre(reference.centre, table);
            keys.resize(size_t(reference.count) * shape.key_dim);
            read_rows(reference.page, layout, reference.format, shape, centre, reference.begin, reference.count, keys.data(), nullptr);
            if (options_.rotate) kernels_.rotate(keys.data(), reference.count, shape.key_dim, key_block(shape.key_dim));
            turn(layer_of_[table], keys.data(), reference.count, reference.shift);
            if (options_.rotate) kernels_.rotate(keys.data(), reference.count, shape.key_dim, key_block(shape.key_dim));
            deltastore::write_keys(kernels_, reference.page, layout, reference.format, shape, centre, reference.begin,
                                   reference.count, keys.data());
            reference.shift = 0;
        }
    }
    return Failure::none;
}

size_t Cache::stock_bytes_per_token(const std::vector<LayerShape>& layers) {
    size_t bytes = 0;
    for (const LayerShape& layer : layers) bytes += size_t(layer.kv_heads) * (layer.head.key_dim + layer.head.value_dim) * 2;
    return bytes;
}

size_t Cache::missing_bytes() const {
    std::lock_guard<std::mutex> guard(mutex_);
    return pool_.missing_bytes();
}

size_t Cache::resident_bytes() const {
    std::lock_guard<std::mutex> guard(mutex_);
    return pool_.resident_bytes() + own_bytes();
}

CacheStats Cache::stats() const {
    std::lock_guard<std::mutex> guard(mutex_);
    CacheStats stats;
    stats.resident_bytes = pool_.resident_bytes() + own_bytes();
    stats.peak_resident_bytes = std::max(pool_.peak_bytes(), stats.resident_bytes);
    stats.pages = pool_.pages();
    for (int sequence = 0; sequence < sequences_.sequences(); sequence++) {
        double bytes = 0, rows = 0;
        size_t shared = 0;
        for (int table = 0; table < sequences_.tables(); table++) {
            for (const PageRef& reference : sequences_.table(sequence, table)) {
                rows += reference.count;
                const size_t page_bytes = sequences_.layout(table, reference).bytes;
                bytes += double(page_bytes) / pool_.references(reference.page);
                if (this->shared(sequence, table, reference)) shared += page_bytes;
            }
        }
        if (sequence >= options_.max_sequences) {
            stats.kept_bytes += size_t(bytes);
            continue;
        }
        const int tokens = sequences_.tokens(sequence);
        const double kept = tokens == 0 ? 1 : rows / sequences_.tables() / tokens;
        stats.sequences.push_back({sequence, tier(sequence).name, tokens, kept, size_t(bytes), shared});
        stats.tokens += tokens;
    }
    stats.stock_bytes = stats.tokens * stock_bytes_per_token(options_.layers);
    return stats;
}

size_t Cache::projected_bytes(const CacheOptions& options, size_t tokens, int sequences, int ubatch) {
    size_t window_row = 0, packed_row = 0, sink_row = 0, tables = 0;
    for (const LayerShape& layer : options.layers) {
        const auto row = [&](Format format) { return layer.kv_heads * page_layout(format, layer.head, kPageRows).bytes / kPageRows; };
        window_row += row(options.packs() ? options.window_format : options.format);
        packed_row += row(options.format);
        sink_row += row(Format::f16);
        tables += layer.kv_heads;
    }
    const size_t window_rows = size_t(options.window) + 2 * kWindowPageRows;
    const size_t open_rows = std::min(tokens, sequences * window_rows + ubatch);
    const size_t references = (tokens / kPageRows + sequences) * sizeof(PageRef);
    const size_t bytes = sequences * options.sinks * sink_row + open_rows * window_row + (tokens - open_rows) * packed_row + references * tables;
    const size_t slabs = bytes + bytes / 64 + 2 * PagePool::kSlabBytes;  // headers, and slabs that are not full
    return options.pool_limit ? std::min(slabs, options.pool_limit) : slabs;
}

}  // namespace deltastore
