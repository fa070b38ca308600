#include "planner.h"

#include <algorithm>
#include <new>

#include "group_buffers.h"

namespace deltastore {

static constexpr int kWantedItems = 64;              // of work a layer, before runs are split over threads
static constexpr size_t kMostPartials = 4 << 20;  // floats

Accounting::Append Planner::rows_to_come(int sequence, int32_t position, int count) const {
    const Tier& tier = tiers_.of(sequence);
    const bool at_once = tier.window == 0 && centres_.own() >= 0;  // packed as it is written
    const Format format = !tier.packs() || at_once ? tier.format : tier.window_format;
    return {sequence, position, count, format, format_info(format).packed ? uint8_t(centres_.own()) : kNoCentre};
}

static std::vector<Span> spans_of(const std::vector<Token>& tokens) {
    std::vector<Span> spans;
    for (int i = 0; i < int(tokens.size()); i++) {
        const bool continues = !spans.empty() && spans.back().sequence == tokens[i].sequence && tokens[i].position == tokens[i - 1].position + 1;
        if (continues) spans.back().count++;
        else spans.push_back({tokens[i].sequence, i, 1});
    }
    return spans;
}

Failure Planner::reserve(const std::vector<std::vector<Token>>& ubatches, Accounting& accounting) {
    plans_.clear();
    current_ = -1;
    std::vector<Accounting::Append> batch;
    for (const auto& tokens : ubatches)
        for (size_t i = 0; i < tokens.size();) {
            const size_t first = i;
            while (i < tokens.size() && tokens[i].sequence == tokens[first].sequence) i++;
            batch.push_back(rows_to_come(tokens[first].sequence, tokens[first].position, int(i - first)));
        }
    if (!accounting.reserve(batch)) return Failure::pool_limit;
    for (const auto& tokens : ubatches) {
        if (append(tokens)) continue;
        for (const auto& plan : plans_) drop(*plan);
        plans_.clear();
        return sequences_.pool().refusal();
    }
    return Failure::none;
}

// Adds a plan with places for its rows. False if there was no page for all of them.
bool Planner::append(const std::vector<Token>& tokens) {
    auto added = std::make_unique<Plan>();
    Plan& plan = *added;
    plan.tokens = tokens;
    plan.spans = spans_of(tokens);
    plan.segments.resize(sequences_.tables());
    for (const Span& span : plan.spans) {
        const int32_t begin = tokens[span.first].position, end = begin + span.count;
        const auto same = [&](const Written& written) { return written.sequence == span.sequence; };
        const auto found = std::find_if(plan.written.begin(), plan.written.end(), same);
        if (found == plan.written.end()) plan.written.push_back({span.sequence, begin, end, tiers_.of(span.sequence).window});
        else found->end = std::max(found->end, end);
    }
    plans_.push_back(std::move(added));
    return std::all_of(plan.spans.begin(), plan.spans.end(), [&](const Span& span) {
        const auto rows = rows_to_come(span.sequence, tokens[span.first].position, span.count);
        return sequences_.append(span.sequence, rows.position, span.count, span.first, rows.format, rows.centre, plan.segments);
    });
}

void Planner::drop(const Plan& plan) {
    for (const Span& span : plan.spans) {
        const int32_t position = plan.tokens[span.first].position;
        sequences_.erase(span.sequence, position, INT32_MAX);
        watches_.erase(span.sequence, position, INT32_MAX);
    }
}

void Planner::abandon() {
    for (const auto& plan : plans_)
        if (!plan->started) drop(*plan);
    plans_.clear();
    current_ = -1;
}

void Planner::start(int index, int threads) {
    Plan& plan = *plans_[index];
    current_ = index;
    int most_group = 1, most_value_dim = 0;
    for (int layer = 0; layer < layers_.count(); layer++) {
        const LayerShape& shape = layers_[layer];
        if (shape.kv_heads == 0) continue;
        plan.most_kv_heads = std::max(plan.most_kv_heads, shape.kv_heads);
        most_group = std::max(most_group, shape.group());
        most_value_dim = std::max(most_value_dim, shape.head.value_dim);
    }
    for (const Written& written : plan.written) watches_.begin_ubatch(written.sequence, written.begin, written.end);
    int followed = 0;
    for (const Span& span : plan.spans) followed += tiers_.of(span.sequence).eviction ? span.count - 1 : 0;
    plan.measures_heads = heads_.wants(followed);

    cut_into_blocks(plan, most_group);
    int widest = 0;
    for (const Block& block : plan.blocks) widest = std::max(widest, block.count);
    cut_into_items(plan, size_t(widest) * most_group * (most_value_dim + 2));
    size_t scratch_bytes = 0;
    for (int layer = 0; layer < layers_.count(); layer++)
        if (layers_[layer].kv_heads > 0)
            scratch_bytes = std::max(scratch_bytes, GroupBuffers::bytes(layers_[layer].head, widest * layers_[layer].group()));
    make_scratch(scratch_bytes, threads);
    plan.begun.assign(scratch_.size() * layers_.count(), 0);
    plan.started = true;
}

void Planner::cut_into_blocks(Plan& plan, int most_group) const {
    const int block_tokens = std::max(1, kBlockQueries / most_group);
    for (const Span& span : plan.spans) {
        size_t pages = 0;
        for (int table = 0; table < sequences_.tables(); table++)
            pages = std::max(pages, sequences_.table(span.sequence, table).size());
        const int runs = std::max<int>(1, int(pages + kRunPages - 1) / kRunPages);
        plan.most_runs = std::max(plan.most_runs, runs);
        for (int first = 0; first < span.count; first += block_tokens)
            plan.blocks.push_back({span.first + first, std::min(block_tokens, span.count - first), span.sequence, runs});
    }
}

void Planner::cut_into_items(Plan& plan, size_t partial_floats) const {
    const size_t layers = layers_.count(), attentions = layers_.attentions(), groups = plan.blocks.size() * plan.most_kv_heads;
    plan.partial_floats = partial_floats;
    const size_t partials = groups * plan.most_runs * partial_floats;
    plan.split = plan.most_runs > 1 && groups < kWantedItems && partials <= kMostPartials;
    for (size_t block = 0; block < plan.blocks.size(); block++) {
        for (int run = 0; run < (plan.split ? plan.blocks[block].runs : 1); run++) {
            plan.item_block.push_back(int(block));
            plan.item_run.push_back(plan.split ? run : -1);
        }
    }
    if (plan.split) plan.partials.resize(partials);
    plan.next_item.reset(new std::atomic<int>[attentions]);
    plan.next_pack.reset(new std::atomic<int>[layers]);
    plan.runs_left.reset(new std::atomic<int>[attentions * groups]);
    for (size_t layer = 0; layer < layers; layer++) plan.next_pack[layer].store(-1, std::memory_order_relaxed);
    for (size_t attention = 0; attention < attentions; attention++) {
        plan.next_item[attention].store(0, std::memory_order_relaxed);
        for (size_t group = 0; group < groups; group++)
            plan.runs_left[attention * groups + group].store(plan.blocks[group % plan.blocks.size()].runs, std::memory_order_relaxed);
    }
}

void Planner::make_scratch(size_t bytes, int threads) {
    if (int(scratch_.size()) < threads) scratch_.resize(threads);
    for (Scratch& scratch : scratch_) {
        if (scratch.bytes >= bytes) continue;
        scratch.bytes = 0;
        scratch.memory.reset(static_cast<uint8_t*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
        if (scratch.memory == nullptr) throw std::bad_alloc();
        scratch.bytes = bytes;
    }
}

}  // namespace deltastore
