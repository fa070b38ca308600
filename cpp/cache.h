// The cache of one context: pages, sequences, and the two operations that llama.cpp's graph does on them.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "eviction/schedule.h"
#include "eviction/scorer.h"
#include "kernels/kernels.h"
#include "pages/page_pool.h"
#include "attention/retrieval_heads.h"
#include "pages/sequence_table.h"
#include "attention/watch.h"

namespace deltastore {

struct FreeDelete {
    void operator()(uint8_t* memory) const { std::free(memory); }
};

struct LayerShape {
    int query_heads = 0;
    int kv_heads = 0;
    HeadShape head;
};

// Which rows go once there are enough tokens.
struct Eviction {
    double keep = 1;  // what it is a share of, the schedule says
    const Schedule* schedule = nullptr;
    const Scorer* scorer = nullptr;
    int slack = 512;  // tokens that come between one eviction and the next
};

// How the rows of a sequence are kept.
struct Tier {
    std::string name;
    Format format = Format::k4v4;
    Format window_format = Format::f16;  // of rows that will be packed, until they are: f16 or k8v8
    int window = 64;
    int sinks = 4;
    std::optional<Eviction> eviction;

    bool packs() const { return format_info(format).packed; }
    bool evicts_by_watch() const { return eviction && eviction->scorer->watch != WatchedQueries::none; }
    WatchedQueries watched() const {
        return evicts_by_watch() ? eviction->scorer->watch : format_info(format).refined > 0 ? WatchedQueries::some : WatchedQueries::none;
    }
};

// Sequences have the options' own tier at first.
struct CacheOptions : Tier {
    std::vector<Tier> others;  // that sequences may be given
    std::vector<LayerShape> layers;
    // Whether the cache rotates queries, keys and values (and the output back) by Hadamard matrices, which spreads outliers
    // over a group. Coded formats want it (unless rows come rotated); exact rows gain nothing.
    bool rotate = false;
    // [layer], for RetrievalHeads, which are ready from the start if the options' own tier evicts; may be empty if positions turn nothing.
    std::vector<Turn> far_turns;
    size_t pool_limit = 0;  // bytes; 0 is none
    int max_sequences = 1;
    int kept_prefixes = 0;  // more sequences, behind those, that hold prefixes for others to take over
};

struct Token {
    int sequence;
    int32_t position;
};

enum class Failure { none, pool_limit, out_of_memory };

struct SequenceStats {
    int id;
    std::string tier;
    int tokens;
    double kept;  // share of the tokens' rows that were not evicted
    size_t resident_bytes;  // a page that others hold too counts in parts
    size_t shared_bytes;    // of all pages that others hold too
};

struct CacheStats {
    size_t tokens = 0;
    size_t resident_bytes = 0;
    size_t peak_resident_bytes = 0;
    size_t stock_bytes = 0;
    size_t pages = 0;
    size_t kept_bytes = 0;                // of kept prefixes, as resident_bytes of a sequence
    std::vector<SequenceStats> sequences;  // without kept prefixes, as are tokens and stock_bytes
};

// A matrix of rows of floats that need not be contiguous: strides in bytes.
struct RowsView {
    const float* data;
    size_t token_stride;
    size_t head_stride;
};

struct AttentionInput {
    RowsView queries;  // [query head][token][key_dim]
    float* output;     // [token][query head][value_dim]
    size_t output_token_stride;
    size_t output_head_stride;
    float scale;
    float soft_cap;                // 0: none
    const float* slopes = nullptr;      // [query head] ALiBi, or null
    const float* sink_scores = nullptr; // [query head] logits of the attention sinks, or null
};

// Thread use: what changes a sequence runs one at a time for that sequence (llama.cpp's and node-llama-cpp's locks see to it), and may
// meet a batch of other sequences on another thread;
// write_* and attend run on many threads between start and finish; stats may be called at any time.
class Cache {
public:
    Cache(CacheOptions options, const Kernels& kernels);
    ~Cache();

    const CacheOptions& options() const { return options_; }
    SequenceTable& table() { return sequences_; }
    const SequenceTable& table() const { return sequences_; }
    int table_index(int layer, int kv_head) const { return first_table_[layer] + kv_head; }

    const Tier& tier(int sequence) const { return *tiers_[tier_of_[sequence]]; }
    // Of the tier of that name; -1 if there is none.
    int tier_index(const std::string& name) const;
    // For the rows to come, and those in the window; older ones stay as they are until repack().
    void set_tier(int sequence, int index);
    // The same by whoever has the lock.
    void assign_tier(int sequence, int index);
    const Tier& tier_at(int index) const { return *tiers_[index]; }
    // Rows but the newest `window`, which is not larger than the tier's, take the tier's format where that makes them smaller. What other
    // sequences hold too stays as it is. Not while a batch is computed.
    Failure repack(int sequence, int window);

    // Opens rows for the tokens of all ubatches, all or none. Tokens of a sequence come in order of position and continue it.
    Failure reserve(const std::vector<std::vector<Token>>& ubatches);
    // Asks before a batch is put together: whether the pool has room for `count` tokens of a sequence, besides those admitted since
    // begin_admission().
    void begin_admission();
    bool admit(int sequence, int32_t position, int count);
    // Makes ubatch `index` of the reserved batch the current one, for at most `threads` threads. May throw std::bad_alloc.
    void start(int index, int threads);
    // The current ubatch is computed: packs what left the window.
    void finish();
    // Drops the rows of reserved ubatches that were never started.
    void abandon();

    void write_keys(int layer, const RowsView& rows, int thread, int threads);
    void write_values(int layer, const RowsView& rows, int thread, int threads);
    void attend(int layer, const AttentionInput& input, int thread, int threads);

    // Whether the tier's slack is full.
    bool eviction_due(int sequence) const;
    // Drops rows that left the window, as `how` says; false if there was no memory for all that should have gone. What other sequences
    // hold too stays, and counts for nothing: it would still take its memory. The scorer must be content with the queries that the tier's own
    // scorer watches. Not while a batch with this sequence is computed.
    bool evict(int sequence, const Eviction& how);

    void clear();
    void erase(int sequence, int32_t from, int32_t to);
    void shift(int sequence, int32_t from, int32_t to, int32_t delta);
    // On failure the target is as it was.
    Failure fork(int source, int target, int32_t from, int32_t to);
    // How much of the first `end` positions another sequence can take over and go on as if it had evaluated them: all, if the rows of the window
    // before them are not packed yet; else whole pages that lie before that window.
    int32_t prefix_end(int source, int32_t end) const;
    int32_t first_position(int sequence) const;
    int32_t last_position(int sequence) const;

    // `turn(layer, keys [rows][key_dim], rows, delta)` turns decoded keys by `delta` positions. Makes every key follow
    // the shifts so far.
    bool has_shift(int sequence) const;
    Failure apply_shifts(const std::function<void(int layer, float* keys, int rows, int32_t delta)>& turn);

    // What is known of the attention that rows received; nullptr if the tier does not ask.
    const Watch* watch(int sequence) const { return tier(sequence).watched() == WatchedQueries::none ? nullptr : &watches_[sequence]; }

    // What eviction knows of the model's heads; turns as in the options, if it was not ready for want of them.
    const RetrievalHeads& heads() const { return heads_; }
    void ready_heads(std::vector<Turn> far_turns);

    CacheStats stats() const;
    size_t resident_bytes() const;
    // As the pool's.
    size_t missing_bytes() const;
    // Most bytes that `tokens` in `sequences` sequences can hold, with a ubatch of `ubatch` tokens under way.
    static size_t projected_bytes(const CacheOptions& options, size_t tokens, int sequences, int ubatch);

    // The vectors taken from keys before packing: [centre][table][key_dim]. Pages name theirs by index; null for kNoCentre.
    const float* centre(int index, int table) const { return index == kNoCentre ? nullptr : centres_[index]->data() + centre_offset_[table]; }
    int centres() const { return int(centres_.size()); }
    size_t centre_floats() const { return centre_floats_; }
    // Index of an equal or new vector, which may replace one that no page names, but none of those `taken`. -1 if there are too many.
    int add_centre(const std::vector<float>& vector, std::vector<bool> taken);

    // Gives up those from `count` on, which no page names.
    void drop_centres(int count) { centres_.resize(count); }

    std::mutex& lock() const { return mutex_; }
    // Under the lock: replaces what a sequence holds by rows of another time; `tables` is left empty. Where the cache has packed nothing yet, rows
    // to come are packed as these were.
    void install(int sequence, std::vector<PageTable>& tables, const Extent& extent, Watch watch);
    // Under the lock: whose pages these are besides the sequences', for reading only, until release().
    void hold(const std::vector<PageTable>& tables);
    void release(std::vector<PageTable>& tables);
    // Under the lock.
    void adopt(RetrievalHeads heads) { heads_ = std::move(heads); }
    // Under the lock: tells the pool what it shares its limit with, which is the tables, centres and sums that there are, the sums of `tokens`
    // more, and `more` bytes.
    void account(size_t tokens = 0, size_t more = 0);
    static size_t stock_bytes_per_token(const std::vector<LayerShape>& layers);

private:
    struct Span;
    struct Written;
    struct Plan;
    struct Item;
    struct Judged;
    struct GroupBuffers;
    struct Rewrite;
    struct Scratch {
        std::unique_ptr<uint8_t[], FreeDelete> memory;
        size_t bytes = 0;
    };

    Format open_format(int sequence) const;
    uint8_t open_centre(int sequence) const { return format_info(open_format(sequence)).packed ? uint8_t(own_centre_) : kNoCentre; }
    Failure no_page() const;
    Failure repack_reference(int sequence, int table, PageRef& reference, float* scratch);
    size_t own_bytes() const;
    // Of account(), with other `tokens`.
    void expect(size_t tokens);
    std::vector<char> tiers_in_use() const;  // [tier]
    // `tiers`: those in use, and those of the demand.
    bool fits(PagePool::Demand demand, const std::vector<char>& tiers) const;
    void erase_locked(int sequence, int32_t from, int32_t to);
    void end_watch(int sequence);
    Failure apply_shifts(int sequence, const std::function<void(int layer, float* keys, int rows, int32_t delta)>& turn);
    void split_window(int sequence, int32_t begin);
    void gather_window(int sequence, int32_t begin);
    void pack_table(const Written& written, int table, float* scratch);
    bool pack_reference(const Written& written, int table, PageTable& references, size_t index, float* scratch);
    void refine(const Written& written, int table, uint8_t* page, int row, int count, int32_t position, const float* values);
    int32_t first_open(int sequence) const;
    void pack_layer(int layer, Plan& plan, float* scratch);
    void find_centre(int sequence, int32_t written_end);
    void write(int layer, bool keys, const RowsView& rows, int thread, int threads);
    // `reference`: of the sequence's table.
    bool shared(int sequence, int table, const PageRef& reference) const;
    bool shared_now(int sequence, int table, const PageRef& reference) const;  // takes the lock
    int32_t shared_end(int sequence) const;
    bool may_go(int sequence, int table, const PageRef& reference, int32_t window_begin) const;
    Judged judge(int sequence, int table, const Scorer& scorer, int32_t own_begin, int32_t window_begin) const;
    // After pages went: moves the sequence's own out of slabs that others left.
    void settle(int sequence);
    bool rewrite(int sequence, const std::vector<Judged>& tables, int32_t window_begin);
    void move_rows(int table, const PageRef& reference, const char* stays, const float* means, Rewrite& rewrite);
    void attend_page(int table, const PageRows& rows, int centre, const QueryBlock& queries, float* centre_scores, int& centre_in_use,
                     void* scratch) const;
    void measure_heads(int layer, int kv_head, const AttentionInput& input, const Plan& plan, const Item& block, const float* maxima,
                       const float* sums, void* scratch);
    void watch_block(int layer, int kv_head, const Plan& plan, const Item& block, GroupBuffers& buffers, QueryBlock queries);
    void watch_queries(int layer, int kv_head, int sequence, const QueryBlock& queries, float* centre_scores, void* scratch);
    void run_item(int layer, const AttentionInput& input, Plan& plan, int kv_head, int block, int only_run, uint8_t* scratch);

    CacheOptions options_;
    std::vector<const Tier*> tiers_;  // the options' own, then the others
    std::vector<int> tier_of_;        // [sequence]
    const Kernels& kernels_;
    PagePool pool_;
    std::unordered_map<const uint8_t*, uint32_t> held_;  // pages of snapshots, and how often they are
    std::vector<int> first_table_;  // layer -> index of its first table
    std::vector<int> layer_of_;     // table -> layer
    SequenceTable sequences_;
    std::vector<Watch> watches_;  // [sequence]; of use if the tier's eviction or its format asks
    RetrievalHeads heads_;        // measured on prompts of tiers that evict, once ready
    std::vector<std::unique_ptr<std::vector<float>>> centres_;
    std::vector<size_t> centre_offset_;
    size_t centre_floats_ = 0;
    int own_centre_ = -1;  // that new pages are packed with; -1 until enough rows were seen
    PagePool::Demand admitted_;
    std::vector<char> admitted_tiers_;  // [tier]
    size_t admitted_tokens_ = 0;
    size_t growing_bytes_ = 0, expected_bytes_ = 0;  // as account() found them: sums, which take an eighth more than they need; and what may be added
    std::vector<std::unique_ptr<Plan>> plans_;
    std::vector<Scratch> scratch_;  // one a thread
    int current_ = -1;
    mutable std::mutex mutex_;
};

}  // namespace deltastore
