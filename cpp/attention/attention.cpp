#include "attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace deltastore {

static constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

static void reset(float* partial, int count, int value_dim) {
    std::fill(partial, partial + count, kMinusInfinity);
    std::fill(partial + count, partial + count * (value_dim + 2), 0.0f);
}

// total = total and then run, by their maxima.
static void add_run(float* total, const float* run, int count, int value_dim) {
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

void Attention::attend(int layer, const AttentionInput& input, Plan& plan, int thread, uint8_t* scratch) const {
    const int per_head = int(plan.item_block.size()), items = per_head * layers_[layer].kv_heads;
    const int attention = layers_.first_attention(layer) + plan.begun[size_t(thread) * layers_.count() + layer]++;
    for (;;) {
        const int item = plan.next_item[attention].fetch_add(1, std::memory_order_relaxed);
        if (item >= items) return;
        run_item({layer, attention, item / per_head, plan.item_block[item % per_head], input}, plan, plan.item_run[item % per_head], scratch);
    }
}

// `only_run`: of the block; -1 is all.
void Attention::run_item(const Group& group, Plan& plan, int only_run, uint8_t* scratch) const {
    const Block& block = plan.blocks[group.block];
    const HeadShape& head = layers_[group.layer].head;
    const int count = block.count * layers_[group.layer].group();
    GroupBuffers buffers;
    buffers.place(scratch, head, count);
    const QueryBlock queries = prepare(group, plan, buffers);
    CentreScores scores{buffers.centre_scores};
    if (only_run >= 0) {
        attend_run(group, block, only_run, queries, buffers, scores);
        if (!finish_run(group, plan, only_run, count, buffers)) return;
    } else {
        reset(buffers.total, count, head.value_dim);
        for (int run = 0; run < block.runs; run++) {
            attend_run(group, block, run, queries, buffers, scores);
            add_run(buffers.total, buffers.run, count, head.value_dim);
        }
    }
    observer_.observe(group.layer, group.kv_head, group.input, plan, block, buffers, queries);
    write_output(group, block, count, buffers.total);
}

// Scales, rotates and rounds the queries.
QueryBlock Attention::prepare(const Group& group, const Plan& plan, GroupBuffers& buffers) const {
    const Block& block = plan.blocks[group.block];
    const int heads = layers_[group.layer].group(), dim = layers_[group.layer].head.key_dim, count = block.count * heads;
    const AttentionInput& input = group.input;
    for (int t = 0; t < block.count; t++) {
        for (int h = 0; h < heads; h++) {
            const int i = t * heads + h, query_head = group.kv_head * heads + h;
            const float* source = input.queries.row(block.first + t, query_head);
            for (int d = 0; d < dim; d++) buffers.query[i * dim + d] = source[d] * input.scale;
            buffers.positions[i] = plan.tokens[block.first + t].position;
            buffers.first_seen[i] = sliding_window_.first_seen(buffers.positions[i]);
            buffers.slopes[i] = input.slopes ? input.slopes[query_head] : 0.0f;
        }
    }
    if (rotate_) kernels_.rotate(buffers.query, count, dim, key_block(dim));
    kernels_.quantize_queries(buffers.query, count, dim, buffers.codes, buffers.code_scales, buffers.code_sums);

    QueryBlock queries;
    queries.count = count;
    queries.query = buffers.query;
    queries.codes = buffers.codes;
    queries.code_scales = buffers.code_scales;
    queries.code_sums = buffers.code_sums;
    queries.centre_scores = buffers.centre_scores;
    queries.positions = buffers.positions;
    if (!sliding_window_.sees_all()) queries.first_seen = buffers.first_seen;
    queries.slopes = buffers.slopes;
    queries.soft_cap = input.soft_cap;
    queries.maxima = buffers.run;
    queries.sums = buffers.run + count;
    queries.output = buffers.run + 2 * count;
    return queries;
}

void Attention::attend_run(const Group& group, const Block& block, int run, const QueryBlock& queries, GroupBuffers& buffers,
                           CentreScores& scores) const {
    const int table = layers_.table(group.layer, group.kv_head);
    const PageTable& references = sequences_.table(block.sequence, table);
    const int32_t first_seen = buffers.first_seen[0], last_position = buffers.positions[queries.count - 1];
    reset(buffers.run, queries.count, layers_[group.layer].head.value_dim);
    const size_t begin = size_t(run) * kRunPages, end = std::min(references.size(), begin + kRunPages);
    PageRows next;
    if (begin < end) next = pages_.rows(table, references[begin]);
    for (size_t r = begin; r < end && references[r].position <= last_position; r++) {
        PageRows rows = next;
        if (r + 1 < references.size()) {
            next = pages_.rows(table, references[r + 1]);
            rows.next = next.page;
            rows.next_bytes = next.layout->bytes;
        }
        if (references[r].end_position() > first_seen) pages_.attend(table, rows, references[r].centre, queries, scores, buffers.kernel);
    }
}

// Whoever finishes a group's last run adds them up, always in order, and goes on: true.
bool Attention::finish_run(const Group& group, Plan& plan, int run, int count, GroupBuffers& buffers) const {
    const int value_dim = layers_[group.layer].head.value_dim, runs = plan.blocks[group.block].runs;
    const size_t groups = plan.blocks.size() * plan.most_kv_heads, this_group = group.kv_head * plan.blocks.size() + group.block;
    float* partials = plan.partials.data() + this_group * plan.most_runs * plan.partial_floats;
    std::memcpy(partials + run * plan.partial_floats, buffers.run, count * (value_dim + 2) * sizeof(float));
    if (plan.runs_left[group.attention * groups + this_group].fetch_sub(1, std::memory_order_acq_rel) != 1) return false;
    reset(buffers.total, count, value_dim);
    for (int r = 0; r < runs; r++) add_run(buffers.total, partials + r * plan.partial_floats, count, value_dim);
    return true;
}

void Attention::write_output(const Group& group, const Block& block, int count, const float* total) const {
    const int heads = layers_[group.layer].group(), value_dim = layers_[group.layer].head.value_dim;
    for (int t = 0; t < block.count; t++) {
        for (int h = 0; h < heads; h++) {
            const int i = t * heads + h, query_head = group.kv_head * heads + h;
            float factor = 1.0f, sum = total[count + i];
            if (group.input.sink_scores) {  // a logit that takes weight and has no value
                const float sink = group.input.sink_scores[query_head], maximum = std::max(total[i], sink);
                factor = std::exp(total[i] - maximum);
                sum = sum * factor + std::exp(sink - maximum);
            }
            factor = sum > 0 ? factor / sum : 0.0f;
            float* output = group.input.output_row(block.first + t, query_head);
            for (int d = 0; d < value_dim; d++) output[d] = total[2 * count + i * value_dim + d] * factor;
            if (rotate_) kernels_.rotate(output, 1, value_dim, value_block(value_dim));
        }
    }
}

}  // namespace deltastore
