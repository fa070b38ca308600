#include "observer.h"

#include <algorithm>
#include <cmath>

namespace deltastore {

void Observer::observe(int layer, int kv_head, const AttentionInput& input, const Plan& plan, const Block& block, GroupBuffers& buffers,
                       const QueryBlock& queries) const {
    if (plan.measures_heads && tiers_.of(block.sequence).eviction)
        measure_heads(layer, kv_head, input, plan, block, buffers.total, buffers.total + queries.count, buffers.kernel);
    if (watches_.wanted(block.sequence)) watch(layer, kv_head, plan, block, buffers, queries);
}

// What the block's queries would give to their own rows and those after them, were they far behind.
void Observer::measure_heads(int layer, int kv_head, const AttentionInput& input, const Plan& plan, const Block& block, const float* maxima,
                             const float* sums, void* scratch) const {
    const HeadShape& shape = layers_[layer].head;
    const int dim = shape.key_dim, group = layers_[layer].group(), table = layers_.table(layer, kv_head);
    float* keys = static_cast<float*>(scratch);
    float *query = keys + 2 * dim, *turned = query + dim;
    const PageTable& references = sequences_.table(block.sequence, table);
    size_t at = references.size();
    const auto read_key = [&](int32_t position, float* key) {
        while (references[at - 1].position > position) at--;
        const PageRef& reference = references[at - 1];
        const Rows row = sequences_.rows(table, reference).part(position - reference.position, 1);
        sequences_.place().run(ReadRows{shape, row, centres_.at(reference.centre, table), key, nullptr}, nullptr);
    };
    for (int t = block.count - 1; t >= 0; t--) {
        const size_t token = block.first + t;
        const int32_t position = plan.tokens[token].position;
        if (token + 1 == plan.tokens.size() || plan.tokens[token + 1].sequence != block.sequence || plan.tokens[token + 1].position != position + 1)
            continue;
        read_key(position + 1, keys + dim);
        read_key(position, keys);
        for (int h = 0; h < group; h++) {
            const float* source = input.queries.row(int(token), kv_head * group + h);
            for (int d = 0; d < dim; d++) query[d] = source[d] * input.scale;
            heads_.turn(layer, query, dim, turned);
            if (rotate_) kernels_.rotate(turned, 1, dim, key_block(dim));
            float scores[2];
            kernels_.dot_rows(keys, 2, dim, turned, scores);
            const float seen = maxima[t * group + h] + std::log(sums[t * group + h]);
            const auto weight = [&](float score) { return 1 / (1 + std::exp(seen - score)); };
            heads_.add(layer, kv_head * group + h, weight(scores[0]), weight(scores[1]));
        }
    }
}

// Adds up what the block's watched queries gave to each row. Moves these to the front of the buffers.
void Observer::watch(int layer, int kv_head, const Plan& plan, const Block& block, GroupBuffers& buffers, QueryBlock queries) const {
    const HeadShape& head = layers_[layer].head;
    const auto written = [&](const Written& other) { return other.sequence == block.sequence; };
    const int32_t end = std::find_if(plan.written.begin(), plan.written.end(), written)->end;
    const WatchedQueries watched = tiers_.of(block.sequence).watched();
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
        copy(buffers.first_seen, i, to, 1);
        copy(buffers.slopes, i, to, 1);
    }
    if (queries.count > 0) add_received(layers_.table(layer, kv_head), block.sequence, queries, {buffers.centre_scores}, buffers.kernel);
}

void Observer::add_received(int table, int sequence, const QueryBlock& queries, CentreScores scores, void* scratch) const {
    Watch& watch = watches_.of(sequence);
    // What chooses among a page's rows depends on nothing that comes after they left the window: so whoever shares the page would choose them, too.
    const Tier& tier = tiers_.of(sequence);
    const int32_t reach = tier.watched() == WatchedQueries::some ? std::max(tier.window, 1) : INT32_MAX;
    for (const PageRef& reference : sequences_.table(sequence, table)) {
        if (reference.pinned() || reference.gapped() || reference.end_position() <= watch.begin()) continue;
        if (queries.positions[0] - (reference.end_position() - 1) > reach) continue;
        if (reference.position > queries.positions[queries.count - 1]) break;
        alignas(64) float received[kPageRows] = {};
        QueryBlock block = queries;
        block.received = received;
        block.reach = reach;
        pages_.attend(table, pages_.rows(table, reference), reference.centre, block, scores, scratch);
        for (int32_t position = std::max(reference.position, watch.begin()); position < std::min(reference.end_position(), watch.end()); position++)
            watch.add(table, position, received[reference.begin + (position - reference.position)]);
    }
}

}  // namespace deltastore
