#include "cache.h"

#include <algorithm>

namespace deltastore {

Cache::Cache(CacheOptions options, const Kernels& kernels, std::shared_ptr<Budget> budget)
    : options_(std::move(options)),
      budget_(budget ? std::move(budget) : std::make_shared<Budget>(options_.pool_limit)),
      mutex_(budget_->lock()),
      layers_(options_.layers),
      place_(kernels),
      pool_(place_, budget_),
      sequences_(pool_, layers_, options_.max_sequences + options_.kept_prefixes),
      tiers_(options_, sequences_.sequences()),
      centres_(layers_),
      watches_(tiers_, sequences_),
      sharing_(sequences_),
      accounting_(options_, tiers_, sequences_, centres_, watches_),
      planner_(layers_, tiers_, sequences_, centres_, watches_, heads_),
      writer_(layers_, options_.rotate, kernels, sequences_, place_, centres_),
      page_attention_(kernels, sequences_, place_, centres_),
      observer_(layers_, options_.rotate, kernels, tiers_, sequences_, centres_, page_attention_, watches_, heads_),
      attention_(layers_, options_.sliding_window, options_.rotate, kernels, sequences_, page_attention_, observer_),
      packer_(layers_, tiers_, sequences_, centres_, watches_, sharing_, mutex_),
      repacker_(layers_, tiers_, sequences_, centres_, watches_, sharing_, packer_, mutex_),
      evictor_(layers_, tiers_, sequences_, watches_, sharing_, heads_),
      shifter_(layers_, options_.rotate, sequences_, centres_) {
    sequences_.lay_out(Format::f16);
    for (int index = 0; index < tiers_.count(); index++) {
        const Tier& tier = tiers_.at(index);
        sequences_.lay_out(tier.format);
        if (tier.packs()) sequences_.lay_out(tier.window_format);
        if (tier.sinks > 0) sequences_.lay_out(Format::f16, std::min(tier.sinks, kPageRows), false);
    }
    if (options_.eviction) ready_heads(options_.far_turns);
    for (int sequence = 0; sequence < sequences_.sequences(); sequence++) set_tier(sequence, 0);
}

Cache::~Cache() {
    clear();  // under the lock: another cache of the budget may be asking what this one takes
}

void Cache::set_tier(int sequence, int index) {
    std::lock_guard<std::mutex> guard(mutex_);
    assign_tier(sequence, index);
}

void Cache::assign_tier(int sequence, int index) {
    const WatchedQueries before = tier(sequence).watched();
    tiers_.assign(sequence, index);
    const Tier& own = tier(sequence);
    if (own.watched() != before) watches_.forget(sequence);
    // Rows that stay F16 can be packed later if there is a tier that packs: then sinks are kept apart.
    const bool may_pack = own.packs() || tiers_.count() > 1;
    sequences_.set_rules(sequence, may_pack ? own.sinks : 0, own.packs() ? own.window : -1);
}

Failure Cache::repack(int sequence, int window) {
    {
        std::lock_guard<std::mutex> guard(mutex_);
        accounting_.charge();
    }
    return repacker_.repack(sequence, window);
}

void Cache::ready_heads(std::vector<Turn> far_turns) {
    std::lock_guard<std::mutex> guard(mutex_);
    std::vector<int> query_heads;
    for (const LayerShape& layer : options_.layers) query_heads.push_back(layer.query_heads);
    heads_ = RetrievalHeads(query_heads, std::move(far_turns));
}

void Cache::begin_admission() {
    std::lock_guard<std::mutex> guard(mutex_);
    accounting_.begin_admission();
}

bool Cache::admit(int sequence, int32_t position, int count) {
    if (budget_->limit_bytes() == 0) return true;
    std::lock_guard<std::mutex> guard(mutex_);
    return accounting_.admit(planner_.rows_to_come(sequence, position, count));
}

void Cache::withdraw() {
    if (budget_->limit_bytes() == 0) return;
    std::lock_guard<std::mutex> guard(mutex_);
    accounting_.withdraw();
}

Failure Cache::reserve(const std::vector<std::vector<Token>>& ubatches) {
    std::lock_guard<std::mutex> guard(mutex_);
    return planner_.reserve(ubatches, accounting_);
}

void Cache::start(int index, int threads) {
    std::lock_guard<std::mutex> guard(mutex_);
    planner_.start(index, threads);
}

void Cache::finish() {
    const Plan* plan = planner_.current();
    if (plan == nullptr) return;
    packer_.finish(*plan, reinterpret_cast<float*>(planner_.scratch(0)));
    if (options_.sliding_window.sees_all()) return;  // no row is out of sight
    std::lock_guard<std::mutex> guard(mutex_);
    for (const Written& written : plan->written) {
        const int32_t kept = options_.sliding_window.first_kept(written.end, sequences_.sinks(written.sequence));
        if (kept > 0 && kept > sequences_.first_position(written.sequence)) sequences_.erase(written.sequence, 0, kept);
    }
}

void Cache::abandon() {
    std::lock_guard<std::mutex> guard(mutex_);
    planner_.abandon();
    if (budget_->limit_bytes() > 0) accounting_.charge();  // nothing is to come any more
}

void Cache::write_keys(int layer, const RowsView& rows, int thread, int threads) {
    writer_.write(layer, true, rows, *planner_.current(), thread, threads);
}

void Cache::write_values(int layer, const RowsView& rows, int thread, int threads) {
    writer_.write(layer, false, rows, *planner_.current(), thread, threads);
}

void Cache::attend(int layer, const AttentionInput& input, int thread, int) {
    uint8_t* scratch = planner_.scratch(thread);
    if (scratch == nullptr) return;  // the others take its items
    Plan& plan = *planner_.current();
    attention_.attend(layer, input, plan, thread, scratch);
    packer_.layer_done(layer, plan);
    // The layer before is done with for this ubatch (ggml's threads met since), so this is a good time to pack what left its window.
    if (layer > 0) packer_.pack_layer(layer - 1, plan, reinterpret_cast<float*>(scratch));
}

bool Cache::eviction_due(int sequence) const {
    if (!tier(sequence).eviction) return false;
    std::lock_guard<std::mutex> guard(mutex_);
    return evictor_.due(sequence);
}

bool Cache::evict(int sequence, const Eviction& how) {
    std::lock_guard<std::mutex> guard(mutex_);
    if (sequences_.last_position(sequence) < 0) return true;
    accounting_.charge();
    return evictor_.evict(sequence, how);
}

void Cache::clear() {
    for (int sequence = 0; sequence < sequences_.sequences(); sequence++) erase(sequence, 0, INT32_MAX);
}

void Cache::erase(int sequence, int32_t from, int32_t to) {
    std::lock_guard<std::mutex> guard(mutex_);
    sequences_.erase(sequence, from, to);
    watches_.erase(sequence, from, to);
}

void Cache::shift(int sequence, int32_t from, int32_t to, int32_t delta) {
    std::lock_guard<std::mutex> guard(mutex_);
    sequences_.shift(sequence, from, to, delta);
    watches_.shift(sequence, from, to, delta);
}

Failure Cache::fork(int source, int target, int32_t from, int32_t to) {
    std::lock_guard<std::mutex> guard(mutex_);
    accounting_.charge(0, sequences_.bookkeeping_bytes(source) + watches_.bytes(source));
    if (!pool_.fits({})) return Failure::pool_limit;
    if (!sequences_.fork(source, target, from, to)) return pool_.refusal();
    if (source != target) watches_.fork(source, target, to);
    return Failure::none;
}

Failure Cache::set_state_bytes(size_t bytes) {
    std::lock_guard<std::mutex> guard(mutex_);
    const size_t before = accounting_.state_bytes();
    accounting_.set_state_bytes(bytes);
    accounting_.charge();
    if (bytes <= before || pool_.fits({})) return Failure::none;
    accounting_.set_state_bytes(before);
    accounting_.charge();
    return Failure::pool_limit;
}

int32_t Cache::prefix_end(int source, int32_t end) const {
    std::lock_guard<std::mutex> guard(mutex_);
    return sequences_.prefix_end(source, end, tier(source).window, tier(source).sinks);
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

Failure Cache::apply_shifts(const TurnRows& turn) {
    Failure result = Failure::none;
    for (int sequence = 0; sequence < sequences_.sequences(); sequence++) {
        std::lock_guard<std::mutex> guard(mutex_);
        if (!sequences_.has_shift(sequence)) continue;
        accounting_.charge();
        const Failure failure = shifter_.follow(sequence, turn);
        if (failure != Failure::none) result = failure;  // the others go on
    }
    return result;
}

CacheStats Cache::stats() const {
    std::lock_guard<std::mutex> guard(mutex_);
    return count_stats(layers_, tiers_, sequences_, sharing_, accounting_, options_.max_sequences);
}

size_t Cache::resident_bytes() const {
    std::lock_guard<std::mutex> guard(mutex_);
    return pool_.resident_bytes() + accounting_.own_bytes();
}

size_t Cache::charged_bytes() const {
    std::lock_guard<std::mutex> guard(mutex_);
    return budget_->charged();
}

size_t Cache::kept_bytes() const {
    std::lock_guard<std::mutex> guard(mutex_);
    return deltastore::kept_bytes(sequences_, options_.max_sequences);
}

size_t Cache::state_bytes() const {
    std::lock_guard<std::mutex> guard(mutex_);
    return accounting_.state_bytes();
}

size_t Cache::missing_bytes() const {
    std::lock_guard<std::mutex> guard(mutex_);
    return pool_.missing_bytes();
}

void Cache::install(int sequence, std::vector<PageTable>& tables, const Extent& extent, Watch watch) {
    if (centres_.own() < 0)
        for (const PageTable& table : tables)
            for (const PageRef& reference : table)
                if (reference.packed()) centres_.set_own(reference.centre);
    sequences_.install(sequence, tables, extent);
    watches_.replace(sequence, std::move(watch));
}

}  // namespace deltastore
