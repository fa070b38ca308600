// What the plugin relies on, and a compiler would let pass. A release of llama.cpp that changes any of it can't be built with, instead of running wrong.
#include <type_traits>

#include "ggml-backend-impl.h"
#include "llama_access.h"

namespace deltastore::contract {

template <class Tag, class Type, class Class>
constexpr bool is_member = std::is_same_v<decltype(member(Tag{})), Type Class::*>;

static_assert(is_member<access::ContextParameters, llama_cparams, llama_context>);
static_assert(is_member<access::ContextMemory, std::unique_ptr<llama_memory_i>, llama_context>);
static_assert(is_member<access::ContextOutputIds, std::vector<int32_t>, llama_context>);
static_assert(is_member<access::ContextNeedsReserve, bool, llama_context>);
static_assert(is_member<access::CacheRotatesKeys, bool, llama_kv_cache> && is_member<access::CacheRotatesValues, bool, llama_kv_cache>);
static_assert(is_member<access::BatchCells, int32_t, llama_kv_cache_context>);
static_assert(is_member<access::IswaBase, std::unique_ptr<llama_kv_cache>, llama_kv_cache_iswa>);
static_assert(is_member<access::IswaWindow, std::unique_ptr<llama_kv_cache>, llama_kv_cache_iswa>);
static_assert(is_member<access::HybridAttention, const std::unique_ptr<llama_kv_cache>, llama_memory_hybrid>);
static_assert(is_member<access::HybridRecurrent, const std::unique_ptr<llama_memory_recurrent>, llama_memory_hybrid>);

// These have all that the plugin's classes override. They are abstract once llama.cpp asks for more, which its own classes would then answer for ours.
struct Memory : llama_memory_i {
    llama_memory_context_ptr init_batch(llama_batch_allocr&, uint32_t, bool) override;
    llama_memory_context_ptr init_full() override;
    llama_memory_context_ptr init_update(llama_context*, bool) override;
    bool get_can_shift() const override;
    void clear(bool) override;
    bool seq_rm(llama_seq_id, llama_pos, llama_pos) override;
    void seq_cp(llama_seq_id, llama_seq_id, llama_pos, llama_pos) override;
    void seq_keep(llama_seq_id) override;
    void seq_add(llama_seq_id, llama_pos, llama_pos, llama_pos) override;
    void seq_div(llama_seq_id, llama_pos, llama_pos, int) override;
    llama_pos seq_pos_min(llama_seq_id) const override;
    llama_pos seq_pos_max(llama_seq_id) const override;
    std::map<ggml_backend_buffer_type_t, size_t> memory_breakdown() const override;
    void state_write(llama_io_write_i&, llama_seq_id, llama_state_seq_flags) const override;
    void state_read(llama_io_read_i&, llama_seq_id, llama_state_seq_flags) override;
};
struct Batch : llama_memory_context_i {
    bool next() override;
    bool apply() override;
    const llama_ubatch& get_ubatch() const override;
    llama_memory_status get_status() const override;
};
static_assert(!std::is_abstract_v<Memory> && !std::is_abstract_v<Batch>);

// The plugin leaves out what is optional of these tables today. What is added to them may not be.
static_assert(sizeof(ggml_backend_buffer_type_i) == 6 * sizeof(void*));
static_assert(sizeof(ggml_backend_buffer_i) == 11 * sizeof(void*));
// Of attention: query, keys, values, mask, sinks. Its operation has three scalars.
static_assert(GGML_MAX_SRC >= 5 && GGML_MAX_OP_PARAMS >= 3 * sizeof(float));

}  // namespace deltastore::contract
