#include "packed_parts.h"

#include <algorithm>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "beside_state.h"
#include "memory_parts.h"

namespace deltastore {

namespace {

const auto kNoLayer = [](int32_t) { return false; };

// llama.cpp's hybrid memories make their parts themselves, and hold them const. Gives the part that is there, and puts another in its place.
template <class Part>
std::unique_ptr<Part> exchange_part(const std::unique_ptr<Part>& held, std::unique_ptr<Part> part) {
    Part* before = held.get();
    new (const_cast<std::unique_ptr<Part>*>(&held)) std::unique_ptr<Part>(std::move(part));  // the one that was there ends without its destructor
    return std::unique_ptr<Part>(before);
}

// llama.cpp hands the parts of a batch out as const. Packed ones have a single cell.
void show_one_cell(const llama_kv_cache_context* part) { const_cast<llama_kv_cache_context*>(part)->*member(access::BatchCells{}) = 1; }
void show_one_cell(const llama_kv_cache_iswa_context& batch) {
    show_one_cell(batch.get_base());
    show_one_cell(batch.get_swa());
}
void show_one_cell(const llama_memory_hybrid_context& batch) { show_one_cell(batch.get_attn()); }

bool apply_beside(const llama_kv_cache_iswa_context&) { return true; }
bool apply_beside(const llama_memory_hybrid_context& batch) { return const_cast<llama_memory_recurrent_context*>(batch.get_recr())->apply(); }

using OpenBatches = std::vector<std::unique_ptr<OpenBatch>>;

// Of all packed parts, or of none.
OpenBatches open_batches(const MemoryParts& parts, const std::vector<llama_ubatch>& ubatches) {
    OpenBatches open;
    for (PackedMemory* memory : parts.all_packed()) {
        open.push_back(memory->open_batch(ubatches));
        if (open.back() == nullptr) return {};
    }
    return open;
}

// `Stock`: llama.cpp's own batch.
template <class Stock>
class PartsBatch final : public Stock {
public:
    template <class... Rest>
    explicit PartsBatch(OpenBatches open, Rest&&... rest) : Stock(std::forward<Rest>(rest)...), open_(std::move(open)) { show_one_cell(*this); }

    bool next() override {
        for (const auto& batch : open_) batch->finish();
        return Stock::next();
    }

    bool apply() override {
        return std::all_of(open_.begin(), open_.end(), [](const auto& batch) { return batch->start(); }) && apply_beside(*this);
    }

private:
    const OpenBatches open_;
};

// A checkpoint of node-llama-cpp: the parts beside the attention alone.
bool is_partial(llama_state_seq_flags flags) { return (flags & LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY) != 0; }

}  // namespace

PackedIswa::PackedIswa(const llama_context& context, std::unique_ptr<PackedMemory> packed, std::unique_ptr<PackedMemory> window)
    : llama_kv_cache_iswa(context.get_model(), GGML_TYPE_F16, GGML_TYPE_F16, /*v_trans*/ false, /*offload*/ false, /*swa_full*/ false,
                          /*unified*/ true, /*kv_size*/ 1, context.get_cparams().n_seq_max, /*n_ubatch*/ 1, /*n_pad*/ 1, nullptr, kNoLayer, nullptr,
                          nullptr) {
    llama_kv_cache_iswa& self = *this;
    self.*member(access::IswaBase{}) = std::move(packed);
    self.*member(access::IswaWindow{}) = std::move(window);
}

llama_memory_context_ptr PackedIswa::init_batch(llama_batch_allocr& balloc, uint32_t n_ubatch, bool) {
    auto ubatches = cut_batch(balloc, [&] { return balloc.split_simple(n_ubatch); });
    OpenBatches open = open_batches(parts_of(this), ubatches);
    if (open.empty()) return std::make_unique<llama_kv_cache_iswa_context>(LLAMA_MEMORY_STATUS_FAILED_PREPARE);
    auto slots = dummy_slots(ubatches), window_slots = slots;
    return std::make_unique<PartsBatch<llama_kv_cache_iswa_context>>(std::move(open), this, std::move(slots), std::move(window_slots), std::move(ubatches));
}

void PackedIswa::seq_cp(llama_seq_id source, llama_seq_id target, llama_pos from, llama_pos to) {
    if (source == target) return;
    llama_kv_cache_iswa::seq_cp(source, target, from, to);
    if (get_base()->seq_pos_max(target) != get_swa()->seq_pos_max(target)) seq_rm(target, -1, -1);  // a part had no memory
}

void PackedIswa::state_write(llama_io_write_i& io, llama_seq_id sequence, llama_state_seq_flags flags) const {
    if (is_partial(flags)) llama_kv_cache_iswa::state_write(io, sequence, flags);
    else write_whole(parts_of(this), io, sequence);
}

void PackedIswa::state_read(llama_io_read_i& io, llama_seq_id sequence, llama_state_seq_flags flags) {
    if (is_partial(flags)) llama_kv_cache_iswa::state_read(io, sequence, flags);
    else read_whole(parts_of(this), io, sequence);
}

PackedHybrid::PackedHybrid(const llama_context& context, std::unique_ptr<PackedMemory> packed, llama_memory_hybrid& stock)
    : llama_memory_hybrid(context.get_model(), GGML_TYPE_F16, GGML_TYPE_F16, /*v_trans*/ false, /*kv_size*/ 1, /*n_pad*/ 1, /*n_swa*/ 0,
                          LLAMA_SWA_TYPE_NONE, GGML_TYPE_F32, GGML_TYPE_F32, /*rs_size*/ 1, /*n_seq_max*/ 1, /*n_rs_seq*/ 0, /*offload*/ false,
                          /*unified*/ true, kNoLayer, kNoLayer) {
    llama_memory_hybrid& self = *this;
    exchange_part(self.*member(access::HybridAttention{}), std::unique_ptr<llama_kv_cache>(std::move(packed)));
    exchange_part(self.*member(access::HybridRecurrent{}), exchange_part(stock.*member(access::HybridRecurrent{}), std::unique_ptr<llama_memory_recurrent>()));
}

llama_memory_context_ptr PackedHybrid::init_batch(llama_batch_allocr& balloc, uint32_t n_ubatch, bool embd_all) {
    const auto refuse = [] { return std::make_unique<llama_memory_hybrid_context>(LLAMA_MEMORY_STATUS_FAILED_PREPARE); };
    const MemoryParts parts = parts_of(this);
    auto ubatches = cut_batch(balloc, [&] { return embd_all ? balloc.split_seq(n_ubatch) : balloc.split_equal(n_ubatch, /*sequential*/ false, 0); });
    if (balloc.get_n_used() < balloc.get_n_tokens()) return refuse();
    OpenBatches open = open_batches(parts, ubatches);  // first, since they can be given back
    if (open.empty() || !parts.recurrent->prepare(ubatches)) return refuse();
    auto slots = dummy_slots(ubatches);
    return std::make_unique<PartsBatch<llama_memory_hybrid_context>>(std::move(open), this, std::move(slots), std::move(ubatches));
}

void PackedHybrid::state_write(llama_io_write_i& io, llama_seq_id sequence, llama_state_seq_flags flags) const {
    if (is_partial(flags)) llama_memory_hybrid::state_write(io, sequence, flags);
    else write_whole(parts_of(this), io, sequence);
}

void PackedHybrid::state_read(llama_io_read_i& io, llama_seq_id sequence, llama_state_seq_flags flags) {
    if (is_partial(flags)) llama_memory_hybrid::state_read(io, sequence, flags);
    else read_whole(parts_of(this), io, sequence);
}

}  // namespace deltastore
