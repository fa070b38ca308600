// llama.cpp's memory interface on top of a Cache. To llama.cpp it is a KV cache with a single cell.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "cache.h"
#include "snapshot/snapshot.h"
#include "graph_ops.h"
#include "kept_states.h"
#include "key_turn.h"
#include "llama_access.h"
#include "open_batch.h"
#include "served_layers.h"
#include "thread_pool.h"

namespace deltastore {

struct FailureReport {
    std::string code;
    std::string message;
    size_t missing_bytes = 0;  // that the pool's limit lacked
};

// llama_kv_cache keeps a reference to its hparams, so they have to be constructed before it.
struct HparamsHolder {
    std::unique_ptr<llama_hparams> packed_hparams;
};

class PackedMemory final : private HparamsHolder, public llama_kv_cache {
public:
    // `options.layers` are those of `layer_ids`; `context_cells`: tokens of all sequences together; `reuse`: as llama.cpp's. `attention`: for a part with
    // sliding windows, the memory beside it, whose limit and lock it shares.
    PackedMemory(llama_context& context, CacheOptions options, const std::vector<uint32_t>& layer_ids, size_t context_cells,
                 int ubatch_tokens, const layer_reuse_cb& reuse, const PackedMemory* attention = nullptr);
    ~PackedMemory() override;

    Cache& cache() { return *cache_; }
    const Cache& cache() const { return *cache_; }
    // Whether the number is behind the context's own, where kept prefixes are.
    bool is_kept(llama_seq_id sequence) const { return sequence >= cache_->options().max_sequences; }
    KeptStates& kept_states() { return *kept_states_; }
    void fail(const char* code, const std::string& message) const;
    void fail(Failure failure) const;
    // A failure's code and message.
    FailureReport report(Failure failure) const;
    // Empty code if there is none. Clears it.
    FailureReport take_failure() const;

    // Waits for the batch under way. Throws CodedError(OPTION_INVALID) if the tier does not watch what the scorer needs.
    void evict(int sequence, const Eviction& how);
    // Throw CodedError: OPTION_INVALID, or MODEL_UNSUPPORTED if the tier evicts and the model has ALiBi; POOL_LIMIT_REACHED or OUT_OF_MEMORY if
    // rows had to stay as they are.
    void set_tier(int sequence, const std::string& name);
    void repack(int sequence, int window);
    // Hashes of the model and of its adapters, see Origin. Until they are set nothing is saved or restored; only a state's size can be asked for.
    void set_origin(uint64_t model, uint64_t adapters);
    // Waits for the batch under way. The snapshot may outlive the context. Throws CodedError OPTION_INVALID, OUT_OF_MEMORY or NATIVE_FAILURE.
    std::shared_ptr<Snapshot> snapshot(int sequence);
    // Throws CodedError as restore_snapshot() does, or NATIVE_FAILURE.
    Restored restore(int sequence, const std::string& tier, const SnapshotParts& parts);

    // Bytes of KeyTurns: how the model turns keys by their positions. None where positions have several parts (M-RoPE).
    const Bytes& key_turns();

    // What llama.cpp's own part with sliding windows takes for a sequence of so many tokens.
    size_t stock_bytes(size_t tokens) const;
    // Opens rows for these ubatches. Null if that is refused; take_failure() then says why.
    std::unique_ptr<OpenBatch> open_batch(const std::vector<llama_ubatch>& ubatches);

    llama_memory_context_ptr init_batch(llama_batch_allocr& balloc, uint32_t n_ubatch, bool embd_all) override;
    llama_memory_context_ptr init_full() override;
    llama_memory_context_ptr init_update(llama_context* lctx, bool optimize) override;
    void clear(bool data) override;
    bool seq_rm(llama_seq_id sequence, llama_pos from, llama_pos to) override;
    void seq_cp(llama_seq_id source, llama_seq_id target, llama_pos from, llama_pos to) override;
    void seq_keep(llama_seq_id sequence) override;
    void seq_add(llama_seq_id sequence, llama_pos from, llama_pos to, llama_pos delta) override;
    void seq_div(llama_seq_id sequence, llama_pos from, llama_pos to, int divisor) override;
    llama_pos seq_pos_min(llama_seq_id sequence) const override;
    llama_pos seq_pos_max(llama_seq_id sequence) const override;
    std::map<ggml_backend_buffer_type_t, size_t> memory_breakdown() const override;
    void state_write(llama_io_write_i& io, llama_seq_id sequence, llama_state_seq_flags flags) const override;
    void state_read(llama_io_read_i& io, llama_seq_id sequence, llama_state_seq_flags flags) override;

private:
    // What rows depend on besides their tokens. The model's hash is 0 until set_origin().
    Origin origin() const;
    // Throws CodedError NATIVE_FAILURE until set_origin().
    Origin known_origin() const;
    // The cache's number of a tier that the sequence may get. Throws CodedError as set_tier() does.
    int ready_tier(int sequence, const std::string& name);
    bool known(llama_seq_id sequence) const { return sequence >= 0 && sequence < cache_->table().sequences(); }

    llama_context& context_;
    const bool is_window_;
    ThreadPool threads_;
    std::shared_ptr<Cache> cache_;
    std::unique_ptr<KeptStates> kept_states_;
    PackedBuffer buffer_;
    ggml_backend_buffer_ptr ggml_buffer_;
    KeyTurn turn_;
    std::vector<uint32_t> layer_ids_;
    Bytes key_turns_;
    size_t context_cells_;
    size_t projected_bytes_;
    uint64_t fingerprint_;
    mutable std::mutex origin_mutex_;
    uint64_t model_hash_, adapters_hash_ = 0;
    std::mutex computing_;  // held by a batch
    mutable std::mutex failure_mutex_;
    mutable FailureReport failure_;
};

// States had it before there were origins: a hash of all tensors' shapes and of the F32 ones' contents (norms, mostly).
uint64_t model_fingerprint(const llama_model& model);

}  // namespace deltastore
