// A cache together with what it should hold: for every sequence its tokens, whose rows are functions of their ids.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <thread>

#include "cache.h"
#include "kernels/codec.h"
#include "format/half.h"
#include "check.h"
#include "random.h"

namespace deltastore {

// Runs `work(thread)` on that many threads.
template <typename Work>
void in_parallel(int threads, const Work& work) {
    std::vector<std::thread> others;
    for (int thread = 1; thread < threads; thread++) others.emplace_back(work, thread);
    work(0);
    for (std::thread& other : others) other.join();
}

// What apply_shifts gets: turns pairs of dims, like RoPE, by an angle that depends on the layer.
inline void rotate_key(int layer, float* key, int dim, int32_t delta) {
    for (int d = 0; d < dim; d += 2) {
        const double angle = delta * 0.1 / (1 + d + layer);
        const float c = float(std::cos(angle)), s = float(std::sin(angle)), x = key[d], y = key[d + 1];
        key[d] = x * c - y * s;
        key[d + 1] = x * s + y * c;
    }
}

// Formats of tiers, and that of their windows' pages.
inline constexpr Format kTierFormats[] = {Format::f16, Format::k4v4, Format::k4v2, Format::k3v2, Format::k4v2r6, Format::k3v2r14};
inline Format window_format_of(Format format) {
    return format == Format::k4v4 || format == Format::k3v2 || format == Format::k4v2r6 ? Format::k8v8 : Format::f16;
}


struct ModelToken {
    int32_t position;
    uint32_t id;
    int32_t pending = 0;         // shift that the key has not followed yet
    std::vector<int32_t> turns;  // those that it has
    std::set<int> evicted;       // tables that have dropped its row
};

// The positions that a sequence stands for once rows were evicted: [begin, end).
struct ModelExtent {
    bool evicted = false;
    int32_t begin = 0, end = 0;
};

class CacheModel {
public:
    CacheModel(const CacheOptions& options, const Kernels& kernels, uint64_t seed)
        : cache(options, kernels), sequences(options.max_sequences), extents(options.max_sequences), salt_(seed) {
        for (size_t layer = 0; layer < options.layers.size(); layer++)
            for (int head = 0; head < options.layers[layer].kv_heads; head++) layer_of_.push_back(int(layer));
    }

    Cache cache;
    std::vector<std::vector<ModelToken>> sequences;
    std::vector<ModelExtent> extents;
    uint32_t next_id = 0;

    // A token's row as the graph gives it. Keys share a mean, as real ones do.
    std::vector<float> row(uint32_t id, int table, bool key) const {
        const HeadShape& shape = cache.table().shape(table);
        static const std::vector<float> gaussians = Random(7).gaussians(1 << 16);
        const size_t dim = key ? shape.key_dim : shape.value_dim;
        const auto start = gaussians.begin() + Random(salt_ + id * 1000003ull + table * 2 + key).next() % (gaussians.size() - dim);
        std::vector<float> values(start, start + dim);
        if (key)
            for (size_t d = 0; d < values.size(); d += 8) values[d] += 2.0f;
        return values;
    }

    int32_t next_position(int sequence) const {
        if (extents[sequence].evicted) return extents[sequence].end;
        return sequences[sequence].empty() ? 0 : sequences[sequence].back().position + 1;
    }

    // Reserves; on success the tokens belong to the sequences.
    Failure reserve(const std::vector<std::vector<Token>>& ubatches) {
        const Failure failure = cache.reserve(ubatches);
        if (failure != Failure::none) return failure;
        ids_.clear();
        for (const auto& tokens : ubatches) {
            ids_.emplace_back();
            for (const Token& token : tokens) {
                sequences[token.sequence].push_back({token.position, next_id, 0, {}, {}});
                if (extents[token.sequence].evicted) extents[token.sequence].end = token.position + 1;
                ids_.back().push_back(next_id++);
            }
        }
        return failure;
    }

    // The graph's writes of one ubatch. finish() is left to the caller, after attention.
    void write(int index, int threads) {
        cache.start(index, threads);
        const auto& layers = cache.options().layers;
        const size_t count = ids_[index].size();
        for (int layer = 0; layer < int(layers.size()); layer++) {
            for (const bool key : {true, false}) {
                const int heads = layers[layer].kv_heads, dim = key ? layers[layer].head.key_dim : layers[layer].head.value_dim;
                std::vector<float> rows(count * heads * dim);
                for (size_t t = 0; t < count; t++)
                    for (int head = 0; head < heads; head++) {
                        const std::vector<float> values = row(ids_[index][t], cache.layers().table(layer, head), key);
                        std::copy(values.begin(), values.end(), rows.begin() + (t * heads + head) * dim);
                    }
                const RowsView view{rows.data(), heads * dim * sizeof(float), dim * sizeof(float)};
                in_parallel(threads, [&](int thread) {
                    if (key) cache.write_keys(layer, view, thread, threads);
                    else cache.write_values(layer, view, thread, threads);
                });
            }
        }
    }

    // Tokens at the end of a sequence, all in one ubatch.
    Failure add(int sequence, int count, int threads = 1) {
        std::vector<Token> tokens;
        for (int i = 0; i < count; i++) tokens.push_back({sequence, next_position(sequence) + i});
        const Failure failure = reserve({tokens});
        if (failure != Failure::none) return failure;
        write(0, threads);
        cache.finish();
        return failure;
    }

    void abandon(const std::vector<std::vector<Token>>& ubatches, size_t started) {
        cache.abandon();
        for (size_t i = ubatches.size(); i-- > started;)
            for (const Token& token : ubatches[i])
                forget(token.sequence, token.position, INT32_MAX);
    }
    void erase(int sequence, int32_t from, int32_t to) {
        cache.erase(sequence, from, to);
        forget(sequence, from, to);
    }
    void shift(int sequence, int32_t from, int32_t to, int32_t delta) {
        cache.shift(sequence, from, to, delta);
        for (ModelToken& token : sequences[sequence]) {
            if (token.position < from || token.position >= to) continue;
            token.position += delta;
            token.pending += delta;
        }
        ModelExtent& extent = extents[sequence];
        const ModelExtent before = extent;
        if (before.begin >= from && before.begin < to) extent.begin += delta;
        if (before.end > from && before.end <= to) extent.end += delta;
    }
    std::vector<int32_t> positions_of(int index, const PageRef& reference) const {
        int32_t positions[kPageRows];
        cache.table().row_positions(index, reference, positions);
        return {positions, positions + reference.count};
    }
    // Evicts, takes over which rows went, and checks how many and which did not. `whole`: there was memory for all of it.
    void evict(int sequence, const Eviction& how, bool whole) {
        if (sequences[sequence].empty()) return;
        const auto before = tables();
        if (!extents[sequence].evicted) extents[sequence] = {true, sequences[sequence].front().position, next_position(sequence)};
        const ModelExtent& extent = extents[sequence];
        whole = cache.evict(sequence, how) && whole;
        const int32_t window_begin = extent.end - cache.tier(sequence).window;
        // Others hold the page too.
        const auto is_shared = [&](int index, const PageRef& reference) {
            for (size_t other = 0; other < before.size(); other++)
                for (const PageRef& its : before[other][index])
                    if (int(other) != sequence && its.page == reference.page) return true;
            return false;
        };
        int32_t own_begin = extent.begin;
        for (int index = 0; index < cache.table().tables(); index++)
            for (const PageRef& reference : before[sequence][index]) {
                if (!is_shared(index, reference)) break;
                own_begin = std::max(own_begin, reference.end_position());
            }
        for (int index = 0; index < cache.table().tables(); index++) {
            std::set<int32_t> stay;
            for (const PageRef& reference : cache.table().table(sequence, index))
                for (int32_t position : positions_of(index, reference)) stay.insert(position);
            int had = 0, must = 0, uncounted = 0;
            for (const PageRef& reference : before[sequence][index]) {
                const bool shared = is_shared(index, reference);
                const Tier& tier = cache.tier(sequence);
                const bool stored = tier.packs() ? format_info(reference.format).packed : reference.format == tier.format;
                const bool stays = shared || reference.pinned() || !stored || reference.end_position() > window_begin;
                if (shared) CHECK(stay.count(reference.position) && stay.count(reference.end_position() - 1));
                if (stays && reference.position < own_begin) {
                    uncounted += reference.count;
                    continue;
                }
                had += reference.count;
                if (stays) must += reference.count;
            }
            int have = 0;
            for (ModelToken& token : sequences[sequence]) {
                if (token.evicted.count(index)) continue;
                const bool stays = stay.count(token.position) > 0;
                if (token.position >= window_begin || token.position < extent.begin + cache.tier(sequence).sinks) CHECK(stays);
                if (!stays) token.evicted.insert(index);
                have += stays;
            }
            CHECK_EQUAL(have, int(stay.size()));
            if (!whole || how.schedule != schedule_by_name("uniform")) continue;
            have -= uncounted;
            const int wanted = std::max(int(std::lround(how.keep * (extent.end - own_begin))), must);
            CHECK_AT_LEAST(have, std::min(had, wanted));
            CHECK_AT_MOST(have, std::min(had, wanted + cache.tier(sequence).sinks));
        }
    }
    // Bytes of the pages that a sequence holds, others or not.
    size_t page_bytes(int sequence) const {
        size_t bytes = 0;
        for (int index = 0; index < cache.table().tables(); index++) {
            Page last = kNoPage;  // several references may show parts of a page
            for (const PageRef& reference : cache.table().table(sequence, index)) {
                if (reference.page != last) bytes += cache.table().layout(index, reference).bytes;
                last = reference.page;
            }
        }
        return bytes;
    }
    // Another tier; what is left of the rows may only get smaller, but for a packed page that others will fill, of each run of rows.
    void change_tier(int sequence, int index, bool repack) {
        cache.set_tier(sequence, index);
        if (repack) this->repack(sequence, cache.tier(sequence).window);
    }
    void repack(int sequence, int window) {
        const size_t before = page_bytes(sequence);
        const Failure failure = cache.repack(sequence, window);
        if (failure != Failure::none) CHECK(failure == Failure::pool_limit && cache.options().pool_limit != 0);
        size_t room = 0;
        for (int table = 0; table < cache.table().tables(); table++) {
            int32_t end = -1;
            for (const PageRef& reference : cache.table().table(sequence, table)) {
                if (reference.position != end) room += page_layout(Format::k4v4, cache.table().shape(table), kPageRows).bytes;
                end = reference.end_position();
            }
        }
        CHECK_AT_MOST(page_bytes(sequence), before + room);
    }
    Failure apply_shifts() {
        const Failure failure = cache.apply_shifts([&](int layer, float* keys, int rows, int32_t delta) {
            const int dim = cache.options().layers[layer].head.key_dim;
            for (int r = 0; r < rows; r++) rotate_key(layer, keys + size_t(r) * dim, dim, delta);
        });
        if (failure != Failure::none) return failure;
        for (auto& tokens : sequences)
            for (ModelToken& token : tokens) {
                if (token.pending != 0) token.turns.push_back(token.pending);
                token.pending = 0;
            }
        return failure;
    }
    Failure fork(int source, int target, int32_t from, int32_t to) {
        const Failure failure = cache.fork(source, target, from, to);
        if (source == target || failure != Failure::none) return failure;
        sequences[target] = sequences[source];
        extents[target] = extents[source];
        forget(target, 0, from);
        forget(target, to, INT32_MAX);
        return failure;
    }
    void clear() {
        cache.clear();
        for (int s = 0; s < int(sequences.size()); s++) forget(s, 0, INT32_MAX);
    }

    // Positions, counts and statistics against the lists.
    void compare() const {
        const SequenceTable& table = cache.table();
        size_t tokens = 0, sequence_bytes = 0;
        std::set<Page> pages;
        const CacheStats stats = cache.stats();
        bool pending = false;
        for (int sequence = 0; sequence < int(sequences.size()); sequence++) {
            const auto& expected = sequences[sequence];
            const ModelExtent& extent = extents[sequence];
            const int count = extent.evicted ? extent.end - extent.begin : int(expected.size());
            tokens += count;
            CHECK_EQUAL(cache.first_position(sequence), count == 0 ? -1 : extent.evicted ? extent.begin : expected.front().position);
            CHECK_EQUAL(cache.last_position(sequence), count == 0 ? -1 : extent.evicted ? extent.end - 1 : expected.back().position);
            CHECK_EQUAL(table.tokens(sequence), count);
            CHECK_AT_MOST(table.extent(sequence).until, table.extent(sequence).end);
            CHECK_EQUAL(stats.sequences[sequence].tokens, count);
            sequence_bytes += stats.sequences[sequence].resident_bytes;
            for (const ModelToken& token : expected)
                pending = pending || (token.pending != 0 && int(token.evicted.size()) < table.tables());
            for (int index = 0; index < table.tables(); index++) {
                size_t at = 0;
                const auto skip = [&] {
                    while (at < expected.size() && expected[at].evicted.count(index)) at++;
                };
                skip();
                for (const PageRef& reference : table.table(sequence, index)) {
                    pages.insert(reference.page);
                    CHECK_AT_MOST(reference.end_row(), reference.rows);
                    CHECK_AT_LEAST(reference.count, 1);
                    const std::vector<int32_t> positions = positions_of(index, reference);
                    CHECK_EQUAL(positions.back(), reference.end_position() - 1);
                    for (int r = 0; r < reference.count && at < expected.size(); r++, at++, skip()) {
                        CHECK_EQUAL(positions[r], expected[at].position);
                        CHECK_EQUAL(reference.shift, expected[at].pending);
                    }
                }
                CHECK_EQUAL(at, expected.size());
            }
        }
        CHECK_EQUAL(stats.tokens, tokens);
        CHECK_EQUAL(stats.stock_bytes, tokens * cache.layers().stock_bytes_per_token());
        CHECK_EQUAL(stats.pages, pages.size());
        CHECK_AT_LEAST(stats.resident_bytes, sequence_bytes);
        CHECK_EQUAL(has_shift(), pending);
        if (cache.options().pool_limit != 0) CHECK_AT_MOST(stats.peak_resident_bytes, cache.options().pool_limit);
    }

    // Every row as it reads back. Exact rows have the bits of the halves that were written and turned. The squared error of packed
    // rows, relative to the row less its page's centre, is 0.0092 at 4 bits, 0.035 at 3 and 0.106 at 2 (packing_test) in the mean; each turn of a
    // packed key packs it again. A row whose largest element is m deviations adds about (m - 2.7)^2 / 64: 12 times the mean for m = 5.4.
    void compare_rows() {
        for (int sequence = 0; sequence < int(sequences.size()); sequence++)
            for (int index = 0; index < cache.table().tables(); index++) {
                size_t at = 0;
                for (const PageRef& reference : cache.table().table(sequence, index))
                    for (int r = 0; r < reference.count && check::clean(); r++) {
                        while (sequences[sequence][at].evicted.count(index)) at++;
                        compare_row(sequences[sequence][at++], index, reference, r);
                    }
            }
    }
    size_t exact_rows = 0, packed_rows = 0;  // that were compared
    double worst_error = 0, error_sum = 0;   // of groups of packed rows, over the expected mean
    size_t packed_groups = 0;
    double mean_error() const { return packed_groups == 0 ? 0 : error_sum / packed_groups; }

    bool has_shift() const {
        for (int sequence = 0; sequence < int(sequences.size()); sequence++)
            if (cache.has_shift(sequence)) return true;
        return false;
    }

    size_t own_bytes() const {
        size_t bytes = cache.table().bookkeeping_bytes() + cache.centres().count() * cache.centres().floats() * sizeof(float);
        for (int sequence = 0; sequence < int(sequences.size()); sequence++)
            if (const Watch* watch = cache.watch(sequence)) bytes += watch->bytes();
        return bytes;
    }

    // Everything that a failed operation has to leave as it was.
    bool same_tables(const std::vector<std::vector<PageTable>>& before) const {
        for (int sequence = 0; sequence < int(sequences.size()); sequence++)
            for (int index = 0; index < cache.table().tables(); index++) {
                const PageTable &now = cache.table().table(sequence, index), &then = before[sequence][index];
                if (now.size() != then.size()) return false;
                for (size_t i = 0; i < now.size(); i++)
                    if (now[i].page != then[i].page || now[i].position != then[i].position || now[i].begin != then[i].begin ||
                        now[i].count != then[i].count || now[i].format != then[i].format || now[i].shift != then[i].shift)
                        return false;
            }
        return true;
    }
    std::vector<std::vector<PageTable>> tables() const {
        std::vector<std::vector<PageTable>> copy(sequences.size());
        for (int sequence = 0; sequence < int(sequences.size()); sequence++)
            for (int index = 0; index < cache.table().tables(); index++) copy[sequence].push_back(cache.table().table(sequence, index));
        return copy;
    }

private:
    void forget(int sequence, int32_t from, int32_t to) {
        auto& tokens = sequences[sequence];
        tokens.erase(std::remove_if(tokens.begin(), tokens.end(),
                                    [&](const ModelToken& token) { return token.position >= from && token.position < to; }),
                     tokens.end());
        ModelExtent& extent = extents[sequence];
        if (!extent.evicted) return;
        if (to >= extent.end) extent.end = std::min(extent.end, from);
        else if (from <= extent.begin) extent.begin = std::max(extent.begin, to);
        if (extent.end <= extent.begin) extent = {};
    }

    void compare_row(const ModelToken& token, int index, const PageRef& reference, int r) {
        const HeadShape& shape = cache.table().shape(index);
        const bool packed = format_info(reference.format).packed;
        const PageLayout& layout = cache.table().layout(index, reference);
        std::vector<float> keys(shape.key_dim), values(shape.value_dim), key = row(token.id, index, true), value = row(token.id, index, false);
        const float* centre = packed ? cache.centres().at(reference.centre, index) : nullptr;
        read_rows(cache.place().at(reference.page), layout, reference.format, shape, centre, reference.begin + r, 1, keys.data(), values.data());
        round_to_half(key);
        round_to_half(value);
        for (int32_t delta : token.turns) {
            rotate_key(layer_of_[index], key.data(), shape.key_dim, delta);
            round_to_half(key);
        }
        const std::vector<float> zeros(std::max(shape.key_dim, shape.value_dim), 0.0f);
        const FormatInfo& info = format_info(reference.format);
        if (info.coded && !packed) {  // rounded to half of 1/127 and 1/63 of the largest element, here below 3 times the deviation
            compare_groups(key, keys, zeros.data(), 4.6e-5 * (1 + token.turns.size()), false);
            compare_groups(value, values, zeros.data(), 1.9e-4, false);
            exact_rows++;
            return;
        }
        if (!packed) {
            CHECK(std::memcmp(keys.data(), key.data(), keys.size() * sizeof(float)) == 0);
            CHECK(std::memcmp(values.data(), value.data(), values.size() * sizeof(float)) == 0);
            exact_rows++;
            return;
        }
        packed_rows++;
        if (info.refined > 0) compare_refined(index, reference, layout, r, value, values);
        compare_groups(key, keys, centre, (info.keys == KeyCoding::lloyd3 ? 0.035 : 0.0092) * (1 + token.turns.size()));
        compare_groups(value, values, zeros.data(), info.values == ValueCoding::trellis2 ? 0.106 : 0.0092);
    }

    // A row's second code is its own, and the only one: with that of a row that was there before, the error would grow.
    void compare_refined(int index, const PageRef& reference, const PageLayout& layout, int r, const std::vector<float>& value,
                         const std::vector<float>& found) {
        const uint8_t* page = cache.place().at(reference.page);
        const uint8_t* numbers = page + layout.refined_rows;
        const auto codes = std::count(numbers, numbers + refined_rows(page, layout), reference.begin + r + 1);
        CHECK_AT_MOST(codes, 1);
        if (codes == 0) return;
        std::vector<uint8_t> coarse(page, page + layout.bytes);
        std::memset(coarse.data() + layout.refined_rows, 0, format_info(reference.format).refined);
        std::vector<float> without(value.size());
        read_rows(coarse.data(), layout, reference.format, cache.table().shape(index), nullptr, reference.begin + r, 1, nullptr, without.data());
        const auto error = [&](const std::vector<float>& other) {
            double sum = 0;
            for (size_t d = 0; d < value.size(); d++) sum += std::pow(value[d] - other[d], 2);
            return sum;
        };
        CHECK_AT_MOST(error(found), 0.7 * error(without));
    }

    void compare_groups(const std::vector<float>& expected, const std::vector<float>& found, const float* centre, double mean_error,
                        bool packed = true) {
        for (size_t first = 0; first < expected.size(); first += kGroup) {
            double error = 0, energy = 0;
            for (size_t d = first; d < first + kGroup; d++) {
                error += std::pow(expected[d] - found[d], 2);
                energy += std::pow(expected[d] - centre[d], 2);
            }
            const double ratio = error / energy / mean_error;
            CHECK_AT_MOST(ratio, cache.options().others.empty() ? 12.0 : 40.0);  // rows that were coded several times
            if (!packed) continue;
            worst_error = std::max(worst_error, ratio);
            error_sum += ratio;
            packed_groups++;
        }
    }

    static void round_to_half(std::vector<float>& values) {
        for (float& value : values) value = half_to_float(float_to_half(value));
    }

    uint64_t salt_;
    std::vector<std::vector<uint32_t>> ids_;  // [ubatch]
    std::vector<int> layer_of_;               // [table]
};

}  // namespace deltastore
