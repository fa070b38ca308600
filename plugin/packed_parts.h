// llama.cpp's memories of several parts, with the attention packed. llama.cpp keeps recurrent states.
#pragma once

#include "packed_memory.h"

namespace deltastore {

class PackedIswa final : public llama_kv_cache_iswa {
public:
    PackedIswa(const llama_context& context, std::unique_ptr<PackedMemory> packed, std::unique_ptr<PackedMemory> window);
    bool get_can_shift() const override { return false; }  // a window that moved down would lack rows

    llama_memory_context_ptr init_batch(llama_batch_allocr& balloc, uint32_t n_ubatch, bool embd_all) override;
    void seq_cp(llama_seq_id source, llama_seq_id target, llama_pos from, llama_pos to) override;
    void state_write(llama_io_write_i& io, llama_seq_id sequence, llama_state_seq_flags flags) const override;
    void state_read(llama_io_read_i& io, llama_seq_id sequence, llama_state_seq_flags flags) override;
};

// `stock`: the memory that this one replaces. Its recurrent part moves here.
class PackedHybrid final : public llama_memory_hybrid {
public:
    PackedHybrid(const llama_context& context, std::unique_ptr<PackedMemory> packed, llama_memory_hybrid& stock);

    llama_memory_context_ptr init_batch(llama_batch_allocr& balloc, uint32_t n_ubatch, bool embd_all) override;
    void state_write(llama_io_write_i& io, llama_seq_id sequence, llama_state_seq_flags flags) const override;
    void state_read(llama_io_read_i& io, llama_seq_id sequence, llama_state_seq_flags flags) override;
};

}  // namespace deltastore
