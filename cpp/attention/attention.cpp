// The attention of a layer over the pages of each token's sequence, in items of work that threads take from a counter.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "cache.h"
#include "kernels/codec.h"
#include "plan.h"

namespace deltastore {

static constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// A group's queries and running softmax, in one thread's scratch memory.
struct Cache::GroupBuffers {
    float* query;
    int8_t* codes;
    float* code_scales;
    int32_t* code_sums;
    float* centre_scores;
    int32_t* positions;
    float* slopes;
    float* run;    // maxima [count], sums [count], outputs [count][value_dim]
    float* total;  // the same, over the runs so far
    void* kernel;

    static size_t bytes(const HeadShape& shape, int count) {
        GroupBuffers unused;
        return unused.place(nullptr, shape, count);
    }

    size_t place(uint8_t* memory, const HeadShape& shape, int count) {
        size_t used = 0;
        const auto take = [&](auto*& pointer, size_t elements) {
            pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(memory + used);
            used = (used + elements * sizeof(*pointer) + 63) / 64 * 64;
        };
        const size_t n = count;
        take(query, n * shape.key_dim);
        take(codes, n * shape.key_dim);
        take(code_scales, n * shape.key_groups());
        take(code_sums, n * shape.key_groups());
        take(centre_scores, n);
        take(positions, n);
        take(slopes, n);
        take(run, n * (shape.value_dim + 2));
        take(total, n * (shape.value_dim + 2));
        kernel = memory + used;
        return used + attention_scratch_bytes(shape);
    }
};

namespace {

const float* row_of(const RowsView& rows, int token, int head) {
    return reinterpret_cast<const float*>(reinterpret_cast<const uint8_t*>(rows.data) + token * rows.token_stride + head * rows.head_stride);
}

void reset(float* partial, int count, int value_dim) {
    std::fill(partial, partial + count, kMinusInfinity);
    std::fill(partial + count, partial + count * (value_dim + 2), 0.0f);
}

// total = total and then run, by their maxima.
void add_run(float* total, const float* run, int count, int value_dim) {
    for (int i = 0; i < count; i++) {
        if (!(run[i] > kMinusInfinity)) continue;
        const float maximum = std::max(total[i], run[i]);
        const float keep = total[i] > kMinusInfinity ? std::exp(total[i] - maximum) : 0.0f;
        const float take = std::exp(run[i] - maximum);
        total[i] = maximum;
        total[count + i] = total[count + i] * keep + run[count + i] * take;
        float* output = total + 2 * count + i * value_dim;
        const float* add = run + 2 * count + i * value_dim;
        for (int d = 0; d < value_dim; d++) output[d] = output[d] * keep + add[d] * take;
    }
}

}  // namespace

void Cache::start(int index, int threads) {
    std::lock_guard<std::mutex> guard(mutex_);
    Plan& plan = *plans_[index];
    current_ = index;

    int most_group = 1, most_value_dim = 0;
    for (const LayerShape& layer : options_.layers) {
        if (layer.kv_heads == 0) continue;
        plan.most_kv_heads = std::max(plan.most_kv_heads, layer.kv_heads);
        most_group = std::max(most_group, layer.query_heads / layer.kv_heads);
        most_value_dim = std::max(most_value_dim, layer.head.value_dim);
    }
    for (const Written& written : plan.written) {
        const WatchedQueries watched = tier(written.sequence).watched();
        if (watched == WatchedQueries::none) continue;
        watches_[written.sequence].extend(written.begin, written.end);
        if (watched == WatchedQueries::last) watches_[written.sequence].restart(std::min(written.end - written.begin, kLastQueries));
    }
    int followed = 0;
    for (const Span& span : plan.spans) followed += tier(span.sequence).eviction ? span.count - 1 : 0;
    plan.measures_heads = heads_.wants(followed);
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
    const size_t groups = plan.blocks.size() * plan.most_kv_heads;
    int widest_block = 0;
    for (const Item& block : plan.blocks) widest_block = std::max(widest_block, block.count);
    plan.partial_floats = size_t(widest_block) * most_group * (most_value_dim + 2);
    const size_t partials = groups * plan.most_runs * plan.partial_floats;
    plan.split = plan.most_runs > 1 && groups < kWantedItems && partials <= kMostPartials;
    for (size_t block = 0; block < plan.blocks.size(); block++) {
        for (int run = 0; run < (plan.split ? plan.blocks[block].runs : 1); run++) {
            plan.item_block.push_back(int(block));
            plan.item_run.push_back(plan.split ? run : -1);
        }
    }
    if (plan.split) plan.partials.resize(partials);
    const size_t layers = options_.layers.size();
    plan.next_item.reset(new std::atomic<int>[layers]);
    plan.next_pack.reset(new std::atomic<int>[layers]);
    plan.runs_left.reset(new std::atomic<int>[layers * groups]);
    for (size_t layer = 0; layer < layers; layer++) {
        plan.next_item[layer].store(0, std::memory_order_relaxed);
        plan.next_pack[layer].store(-1, std::memory_order_relaxed);
        for (size_t group = 0; group < groups; group++)
            plan.runs_left[layer * groups + group].store(plan.blocks[group % plan.blocks.size()].runs, std::memory_order_relaxed);
    }
    size_t scratch_bytes = 0;
    for (const LayerShape& layer : options_.layers)
        if (layer.kv_heads > 0)
            scratch_bytes = std::max(scratch_bytes, GroupBuffers::bytes(layer.head, widest_block * layer.query_heads / layer.kv_heads));
    if (int(scratch_.size()) < threads) scratch_.resize(threads);
    for (Scratch& scratch : scratch_) {
        if (scratch.bytes >= scratch_bytes) continue;
        scratch.bytes = 0;
        scratch.memory.reset(static_cast<uint8_t*>(std::aligned_alloc(64, (scratch_bytes + 63) / 64 * 64)));
        if (scratch.memory == nullptr) throw std::bad_alloc();
        scratch.bytes = scratch_bytes;
    }
    plan.started = true;
}

void Cache::attend(int layer, const AttentionInput& input, int thread, int) {
    if (thread >= int(scratch_.size())) return;  // the others take its items
    Plan& plan = *plans_[current_];
    const LayerShape& shape = options_.layers[layer];
    const int per_head = int(plan.item_block.size());
    const int items = per_head * shape.kv_heads;
    for (;;) {
        const int item = plan.next_item[layer].fetch_add(1, std::memory_order_relaxed);
        if (item >= items) break;
        run_item(layer, input, plan, item / per_head, plan.item_block[item % per_head], plan.item_run[item % per_head],
                 scratch_[thread].memory.get());
    }
    // The layer before is done with for this ubatch (ggml's threads met since), so this is a good time to pack what left its window.
    int unset = -1;
    plan.next_pack[layer].compare_exchange_strong(unset, 0, std::memory_order_relaxed);
    if (layer > 0) pack_layer(layer - 1, plan, reinterpret_cast<float*>(scratch_[thread].memory.get()));
}

void Cache::run_item(int layer, const AttentionInput& input, Plan& plan, int kv_head, int block_index, int only_run, uint8_t* scratch) {
    const LayerShape& shape = options_.layers[layer];
    const HeadShape& head = shape.head;
    const Item& block = plan.blocks[block_index];
    const int group = shape.query_heads / shape.kv_heads;
    const int count = block.count * group;
    GroupBuffers buffers;
    buffers.place(scratch, head, count);
    for (int t = 0; t < block.count; t++) {
        for (int h = 0; h < group; h++) {
            const int i = t * group + h, query_head = kv_head * group + h;
            const float* source = row_of(input.queries, block.first + t, query_head);
            for (int d = 0; d < head.key_dim; d++) buffers.query[i * head.key_dim + d] = source[d] * input.scale;
            buffers.positions[i] = plan.tokens[block.first + t].position;
            buffers.slopes[i] = input.slopes ? input.slopes[query_head] : 0.0f;
        }
    }
    if (options_.rotate) kernels_.rotate(buffers.query, count, head.key_dim, key_block(head.key_dim));
    kernels_.quantize_queries(buffers.query, count, head.key_dim, buffers.codes, buffers.code_scales, buffers.code_sums);

    QueryBlock queries;
    queries.count = count;
    queries.query = buffers.query;
    queries.codes = buffers.codes;
    queries.code_scales = buffers.code_scales;
    queries.code_sums = buffers.code_sums;
    queries.centre_scores = buffers.centre_scores;
    queries.positions = buffers.positions;
    queries.slopes = buffers.slopes;
    queries.soft_cap = input.soft_cap;
    queries.maxima = buffers.run;
    queries.sums = buffers.run + count;
    queries.output = buffers.run + 2 * count;

    const int table = table_index(layer, kv_head);
    const PageTable& references = sequences_.table(block.sequence, table);
    const int32_t last_position = buffers.positions[count - 1];
    int centre_in_use = -1;
    if (only_run < 0) reset(buffers.total, count, head.value_dim);
    for (int run = only_run < 0 ? 0 : only_run; run < (only_run < 0 ? block.runs : only_run + 1); run++) {
        reset(buffers.run, count, head.value_dim);
        const size_t end = std::min(references.size(), size_t(run + 1) * kRunPages);
        for (size_t r = size_t(run) * kRunPages; r < end; r++) {
            const PageRef& reference = references[r];
            if (reference.position > last_position) break;
            PageRows rows{reference.page, &sequences_.layout(table, reference), head, reference.format,
                          reference.rows, reference.begin, reference.count, reference.position};
            if (r + 1 < references.size()) {
                const PageRef& next = references[r + 1];
                rows.next = next.page;
                rows.next_bytes = sequences_.layout(table, next).bytes;
            }
            attend_page(table, rows, reference.centre, queries, buffers.centre_scores, centre_in_use, buffers.kernel);
        }
        if (only_run < 0) add_run(buffers.total, buffers.run, count, head.value_dim);
    }

    float* total = buffers.total;
    if (only_run >= 0) {
        const size_t groups = plan.blocks.size() * plan.most_kv_heads;
        const size_t this_group = kv_head * plan.blocks.size() + block_index;
        float* partials = plan.partials.data() + this_group * plan.most_runs * plan.partial_floats;
        std::memcpy(partials + only_run * plan.partial_floats, buffers.run, count * (head.value_dim + 2) * sizeof(float));
        // Whoever finishes a group's last run adds them up, always in order.
        if (plan.runs_left[layer * groups + this_group].fetch_sub(1, std::memory_order_acq_rel) != 1) return;
        reset(total, count, head.value_dim);
        for (int run = 0; run < block.runs; run++) add_run(total, partials + run * plan.partial_floats, count, head.value_dim);
    }
    if (plan.measures_heads && tier(block.sequence).eviction) measure_heads(layer, kv_head, input, plan, block, total, total + count, buffers.kernel);
    if (tier(block.sequence).watched() != WatchedQueries::none) watch_block(layer, kv_head, plan, block, buffers, queries);
    for (int t = 0; t < block.count; t++) {
        for (int h = 0; h < group; h++) {
            const int i = t * group + h, query_head = kv_head * group + h;
            float factor = 1.0f, sum = total[count + i];
            if (input.sink_scores) {  // a logit that takes weight and has no value
                const float maximum = std::max(total[i], input.sink_scores[query_head]);
                factor = std::exp(total[i] - maximum);
                sum = sum * factor + std::exp(input.sink_scores[query_head] - maximum);
            }
            factor = sum > 0 ? factor / sum : 0.0f;
            float* output = reinterpret_cast<float*>(reinterpret_cast<uint8_t*>(input.output) +
                                                     (block.first + t) * input.output_token_stride +
                                                     query_head * input.output_head_stride);
            for (int d = 0; d < head.value_dim; d++) output[d] = total[2 * count + i * head.value_dim + d] * factor;
            if (options_.rotate) kernels_.rotate(output, 1, head.value_dim, kValueBlock);
        }
    }
}

// `centre_in_use`: whose products with the queries `centre_scores` (the queries' own) holds; -1 if none's.
void Cache::attend_page(int table, const PageRows& rows, int centre, const QueryBlock& queries, float* centre_scores, int& centre_in_use,
                        void* scratch) const {
    if (!format_info(rows.format).coded) return kernels_.attend_half(rows, queries, scratch);
    if (centre_in_use != centre) {
        centre_in_use = centre;
        if (centre == kNoCentre) std::fill(centre_scores, centre_scores + queries.count, 0.0f);
        else kernels_.dot_rows(queries.query, queries.count, rows.shape.key_dim, this->centre(centre, table), centre_scores);
    }
    kernels_.attend_coded(rows, queries, scratch);
}

// What the block's queries would give to their own rows and those after them, were they far behind. The softmax of what they saw is done.
void Cache::measure_heads(int layer, int kv_head, const AttentionInput& input, const Plan& plan, const Item& block, const float* maxima,
                          const float* sums, void* scratch) {
    const LayerShape& shape = options_.layers[layer];
    const int dim = shape.head.key_dim, group = shape.query_heads / shape.kv_heads, table = table_index(layer, kv_head);
    float* keys = static_cast<float*>(scratch);
    float *query = keys + 2 * dim, *turned = query + dim;
    const PageTable& references = sequences_.table(block.sequence, table);
    size_t at = references.size();
    const auto read_key = [&](int32_t position, float* key) {
        while (references[at - 1].position > position) at--;
        const PageRef& reference = references[at - 1];
        read_rows(reference.page, sequences_.layout(table, reference), reference.format, shape.head, centre(reference.centre, table),
                  reference.begin + (position - reference.position), 1, key, nullptr);
    };
    for (int t = block.count - 1; t >= 0; t--) {
        const size_t token = block.first + t;
        const int32_t position = plan.tokens[token].position;
        if (token + 1 == plan.tokens.size() || plan.tokens[token + 1].sequence != block.sequence || plan.tokens[token + 1].position != position + 1)
            continue;
        read_key(position + 1, keys + dim);
        read_key(position, keys);
        for (int h = 0; h < group; h++) {
            const float* source = row_of(input.queries, int(token), kv_head * group + h);
            for (int d = 0; d < dim; d++) query[d] = source[d] * input.scale;
            heads_.turn(layer, query, dim, turned);
            if (options_.rotate) kernels_.rotate(turned, 1, dim, key_block(dim));
            float scores[2];
            kernels_.dot_rows(keys, 2, dim, turned, scores);
            const float seen = maxima[t * group + h] + std::log(sums[t * group + h]);
            const auto weight = [&](float score) { return 1 / (1 + std::exp(seen - score)); };
            heads_.add(layer, kv_head * group + h, weight(scores[0]), weight(scores[1]));
        }
    }
}

// Adds up what the block's watched queries gave to each row. Moves these to the front of the buffers, of which only `total` is needed after.
void Cache::watch_block(int layer, int kv_head, const Plan& plan, const Item& block, GroupBuffers& buffers, QueryBlock queries) {
    const HeadShape& head = options_.layers[layer].head;
    const auto written = [&](const Written& other) { return other.sequence == block.sequence; };
    const int32_t end = std::find_if(plan.written.begin(), plan.written.end(), written)->end;
    const WatchedQueries watched = tier(block.sequence).watched();
    const auto copy = [](auto* rows, int from, int to, int width) { std::copy_n(rows + from * width, width, rows + to * width); };
    const int count = queries.count;
    queries.count = 0;
    for (int i = 0; i < count; i++) {
        const int32_t position = buffers.positions[i];
        if (watched == WatchedQueries::last ? position < end - kLastQueries : watched == WatchedQueries::some && position % kWatchStep != 0) continue;
        const int to = queries.count++;
        queries.maxima[to] = buffers.total[i];
        queries.sums[to] = buffers.total[count + i];
        if (to == i) continue;
        copy(buffers.query, i, to, head.key_dim);
        copy(buffers.codes, i, to, head.key_dim);
        copy(buffers.code_scales, i, to, head.key_groups());
        copy(buffers.code_sums, i, to, head.key_groups());
        copy(buffers.positions, i, to, 1);
        copy(buffers.slopes, i, to, 1);
    }
    if (queries.count > 0) watch_queries(layer, kv_head, block.sequence, queries, buffers.centre_scores, buffers.kernel);
}

void Cache::watch_queries(int layer, int kv_head, int sequence, const QueryBlock& queries, float* centre_scores, void* scratch) {
    const HeadShape& head = options_.layers[layer].head;
    const int table = table_index(layer, kv_head);
    Watch& watch = watches_[sequence];
    // What chooses among a page's rows depends on nothing that comes after they left the window: so whoever shares the page would choose them, too.
    const int32_t reach = tier(sequence).watched() == WatchedQueries::some ? std::max(tier(sequence).window, 1) : INT32_MAX;
    int centre_in_use = -1;
    for (const PageRef& reference : sequences_.table(sequence, table)) {
        if (reference.pinned() || reference.gapped() || reference.end_position() <= watch.begin()) continue;
        if (queries.positions[0] - (reference.end_position() - 1) > reach) continue;
        if (reference.position > queries.positions[queries.count - 1]) break;
        const PageRows rows{reference.page, &sequences_.layout(table, reference), head, reference.format,
                            reference.rows, reference.begin, reference.count, reference.position};
        alignas(64) float received[kPageRows] = {};
        QueryBlock block = queries;
        block.received = received;
        block.reach = reach;
        attend_page(table, rows, reference.centre, block, centre_scores, centre_in_use, scratch);
        for (int32_t position = std::max(reference.position, watch.begin()); position < std::min(reference.end_position(), watch.end()); position++)
            watch.add(table, position, received[reference.begin + (position - reference.position)]);
    }
}

}  // namespace deltastore
