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

// Given to apply_shifts: turns pairs of dims, like RoPE, by an angle that depends on the layer.
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
    CacheModel(const CacheOptions& options, const Kernels& kernels, uint64_t seed, std::shared_ptr<Budget> budget = nullptr)
        : cache(options, kernels, std::move(budget)), sequences(options.max_sequences), extents(options.max_sequences), salt_(seed) {
        for (size_t layer = 0; layer < options.layers.size(); layer++)
            for (int head = 0; head < options.layers[layer].kv_heads; head++) layer_of_.push_back(int(layer));
    }

    Cache cache;
    std::vector<std::vector<ModelToken>> sequences;
    std::vector<ModelExtent> extents;
    uint32_t next_id = 0;

    // A token's row as the graph gives it. Keys share a mean, as real ones do.
    std::vector<float> row(uint32_t id, int table, bool key) const;
    int32_t next_position(int sequence) const {
        if (extents[sequence].evicted) return extents[sequence].end;
        return sequences[sequence].empty() ? 0 : sequences[sequence].back().position + 1;
    }

    // Reserves; on success the tokens belong to the sequences.
    Failure reserve(const std::vector<std::vector<Token>>& ubatches);
    // The graph's writes of one ubatch. finish() of it is left to the caller, after attention.
    void write(int index, int threads);
    void finish(int index);
    // Tokens at the end of a sequence, all in one ubatch.
    Failure add(int sequence, int count, int threads = 1);
    void abandon(const std::vector<std::vector<Token>>& ubatches, size_t started);
    void erase(int sequence, int32_t from, int32_t to) {
        cache.erase(sequence, from, to);
        forget(sequence, from, to);
    }
    void shift(int sequence, int32_t from, int32_t to, int32_t delta);
    std::vector<int32_t> positions_of(int index, const PageRef& reference) const;
    // Evicts, takes over which rows went, and checks how many and which did not. `whole`: there was memory for all of it.
    void evict(int sequence, const Eviction& how, bool whole);
    // Bytes of the pages that a sequence holds, others or not.
    size_t page_bytes(int sequence) const;
    // Changes the tier, and repacks if asked.
    void change_tier(int sequence, int index, bool repack) {
        cache.set_tier(sequence, index);
        if (repack) this->repack(sequence, cache.tier(sequence).window);
    }
    void repack(int sequence, int window);
    Failure apply_shifts();
    Failure fork(int source, int target, int32_t from, int32_t to);
    void clear() {
        cache.clear();
        for (int s = 0; s < int(sequences.size()); s++) forget(s, 0, INT32_MAX);
    }

    // Positions, counts and statistics against the lists.
    void compare() const;
    // Every row as it reads back.
    void compare_rows();
    size_t exact_rows = 0, packed_rows = 0;  // that were compared
    double worst_error = 0, error_sum = 0;   // of groups of packed rows, over the expected mean
    size_t packed_groups = 0;
    double mean_error() const { return packed_groups == 0 ? 0 : error_sum / packed_groups; }

    bool has_shift() const {
        for (int sequence = 0; sequence < int(sequences.size()); sequence++)
            if (cache.has_shift(sequence)) return true;
        return false;
    }

    size_t own_bytes() const;
    // Everything that a failed operation has to leave as it was.
    bool same_tables(const std::vector<std::vector<PageTable>>& before) const;
    std::vector<std::vector<PageTable>> tables() const;

private:
    void forget(int sequence, int32_t from, int32_t to);
    void compare_row(const ModelToken& token, int index, const PageRef& reference, int r);
    // A row's second code is its own, and the only one: with that of a row that was there before, the error would grow.
    void compare_refined(int index, const PageRef& reference, const PageLayout& layout, int r, const std::vector<float>& value,
                         const std::vector<float>& found);
    void compare_groups(const std::vector<float>& expected, const std::vector<float>& found, const float* centre, double mean_error,
                        bool packed = true);
    static void round_to_half(std::vector<float>& values) {
        for (float& value : values) value = half_to_float(float_to_half(value));
    }

    uint64_t salt_;
    std::vector<std::vector<uint32_t>> ids_;  // [ubatch]
    std::vector<std::vector<Token>> tokens_;
    std::vector<int> layer_of_;               // [table]
};

}  // namespace deltastore
