// What many sequences hold that share a part of their tokens: `npm run bench:sharing`. Then their windows are packed but for 16 tokens, as
// `pool.pressure` does with idle sequences, and they are counted again. Rows are random, and lie where the engine puts them. Attention is not
// computed, so a tier that evicts keeps its share of the rows by position.
#include <cstdio>
#include <cstring>
#include <vector>

#include "cache.h"
#include "../../test/native/random.h"

using namespace deltastore;

static constexpr int kSequences = 100, kTokens = 4096, kUbatch = 512;

struct ChatRows {
    Random random{1};
    std::vector<float> rows = random.gaussians(size_t(kUbatch) * 3 * 64);
};

static void append(Cache& cache, int sequence, int count, const ChatRows& rows) {
    for (int done = 0; done < count; done += kUbatch) {
        std::vector<Token> tokens;
        const int32_t first = cache.last_position(sequence) + 1;
        for (int i = 0; i < std::min(kUbatch, count - done); i++) tokens.push_back({sequence, first + i});
        if (cache.reserve({tokens}) != Failure::none) std::exit(1);
        cache.start(0, 1);
        const RowsView view{rows.rows.data(), 3 * 64 * sizeof(float), 64 * sizeof(float)};
        for (int layer = 0; layer < int(cache.options().layers.size()); layer++) {
            cache.write_keys(layer, view, 0, 1);
            cache.write_values(layer, view, 0, 1);
        }
        cache.finish();
    }
    if (cache.options().eviction) cache.evict(sequence, *cache.options().eviction);
}

int main() {
    const ChatRows rows;
    std::printf("[");
    bool first = true;
    for (const char* tier : {"conservative", "recommended"})
        for (const int percent : {0, 12, 50, 75, 87}) {
            CacheOptions options;
            options.layers.assign(30, {9, 3, {64, 64}});  // SmolLM2-135M's
            const bool evicts = std::strcmp(tier, "recommended") == 0;
            options.format = evicts ? Format::k4v2 : Format::k4v2r6;
            options.window_format = Format::k8v8;
            options.rotate = true;
            options.max_sequences = kSequences;
            options.kept_prefixes = 1;
            if (evicts) options.eviction = Eviction{0.68, schedule_by_name("uniform"), scorer_by_name("recency"), 512};
            Cache cache(options, *select_kernels());
            const int shared = kTokens * percent / 100;
            if (shared > 0) append(cache, kSequences, shared, rows);  // a kept prefix
            for (int sequence = 0; sequence < kSequences; sequence++) {
                if (shared > 0 && cache.fork(kSequences, sequence, 0, INT32_MAX) != Failure::none) return 1;
                append(cache, sequence, kTokens - shared, rows);
            }
            const CacheStats stats = cache.stats();
            for (int sequence = 0; sequence < kSequences; sequence++)
                if (cache.repack(sequence, 16) != Failure::none) return 1;
            std::printf("%s\n  {\"tier\": \"%s\", \"sequences\": %d, \"tokens\": %d, \"sharedPercent\": %d, \"stockBytes\": %zu, \"residentBytes\": %zu, \"idleBytes\": %zu}", first ? "" : ",", tier,
                        kSequences, kTokens, percent, stats.stock_bytes, stats.resident_bytes, cache.resident_bytes());
            std::fflush(stdout);
            first = false;
        }
    std::printf("\n]\n");
}
