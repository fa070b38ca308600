// The cache of one context, as the plugin and state files use it: a face over parts that each own their state, and the lock.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "accounting/accounting.h"
#include "accounting/stats.h"
#include "attention/attention.h"
#include "attention/planner.h"
#include "attention/row_writer.h"
#include "eviction/evictor.h"
#include "packing/key_shifter.h"
#include "packing/repacker.h"
#include "pages/host_place.h"
#include "tiers/tiers.h"

namespace deltastore {

// Thread use: what changes a sequence runs one at a time for that sequence (llama.cpp's and node-llama-cpp's locks see to it), and may
// meet a batch of other sequences on another thread; write_* and attend run on many threads between start and finish; stats may be
// called at any time.
class Cache {
public:
    // Caches of one budget share its lock and the limit, which is then not the options' own.
    Cache(CacheOptions options, const Kernels& kernels, std::shared_ptr<Budget> budget = nullptr);
    ~Cache();
    Cache(const Cache&) = delete;
    Cache& operator=(const Cache&) = delete;

    const CacheOptions& options() const { return options_; }
    const Layers& layers() const { return layers_; }

    const Tier& tier(int sequence) const { return tiers_.of(sequence); }
    const Tiers& tiers() const { return tiers_; }
    // For the rows to come, and those in the window; older ones stay as they are until repack().
    void set_tier(int sequence, int index);
    // Rows but the newest `window`, which is not larger than the tier's, take the tier's format where that makes them smaller. What other
    // sequences hold too stays as it is. Not while a batch is computed.
    Failure repack(int sequence, int window);

    // Asks before a batch is put together: whether the pool has room for `count` tokens of a sequence, besides those admitted since
    // begin_admission().
    void begin_admission();
    bool admit(int sequence, int32_t position, int count);
    // Takes back what was admitted last.
    void withdraw();
    // Opens rows for the tokens of all ubatches, all or none. Tokens of a sequence come in order of position and continue it.
    Failure reserve(const std::vector<std::vector<Token>>& ubatches);
    // Makes ubatch `index` of the reserved batch the current one, for at most `threads` threads. May throw std::bad_alloc.
    void start(int index, int threads);
    // The current ubatch is computed: packs what left the window, and drops rows that no later token sees.
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

    // The bytes of all states that the owner keeps for kept prefixes, beside their rows. On failure it must not keep the newest.
    Failure set_state_bytes(size_t bytes);

    bool has_shift(int sequence) const;
    // Makes every key follow the shifts so far.
    Failure apply_shifts(const TurnRows& turn);

    // What eviction knows of the model's heads; turns as in the options, if it was not ready for want of them.
    const RetrievalHeads& heads() const { return heads_; }
    void ready_heads(std::vector<Turn> far_turns);

    CacheStats stats() const;
    size_t resident_bytes() const;
    size_t kept_bytes() const;  // as those of stats(), without the states
    size_t state_bytes() const;
    // As the pool's.
    size_t missing_bytes() const;
    // Of the limit, by all caches that share it.
    size_t charged_bytes() const;

    // The parts, for what runs under the lock.
    std::mutex& lock() const { return mutex_; }
    const std::shared_ptr<Budget>& budget() const { return budget_; }
    SequenceTable& table() { return sequences_; }
    const SequenceTable& table() const { return sequences_; }
    Centres& centres() { return centres_; }
    const Centres& centres() const { return centres_; }
    Sharing& sharing() { return sharing_; }
    Watches& watches() { return watches_; }
    const Watches& watches() const { return watches_; }
    Accounting& accounting() { return accounting_; }
    const HostPlace& place() const { return place_; }  // for tests
    // What is known of the attention that rows received; null if the tier does not ask.
    const Watch* watch(int sequence) const { return watches_.wanted(sequence) ? &watches_.of(sequence) : nullptr; }
    void assign_tier(int sequence, int index);
    // Replaces what a sequence holds by rows of another time; `tables` is left empty. Where the cache has packed nothing yet, rows
    // to come are packed as these were.
    void install(int sequence, std::vector<PageTable>& tables, const Extent& extent, Watch watch);
    void adopt(RetrievalHeads heads) { heads_ = std::move(heads); }

private:
    const CacheOptions options_;
    const std::shared_ptr<Budget> budget_;
    std::mutex& mutex_;
    const Layers layers_;
    HostPlace place_;
    PagePool pool_;
    SequenceTable sequences_;
    Tiers tiers_;
    Centres centres_;
    Watches watches_;
    RetrievalHeads heads_;  // measured on prompts of tiers that evict, once ready
    Sharing sharing_;
    Accounting accounting_;
    Planner planner_;
    RowWriter writer_;
    PageAttention page_attention_;
    Observer observer_;
    Attention attention_;
    Packer packer_;
    Repacker repacker_;
    Evictor evictor_;
    KeyShifter shifter_;
};

}  // namespace deltastore
