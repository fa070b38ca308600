// What a context's memory consists of, llama.cpp's own or ours: attention over all tokens, and what some models have beside it.
#pragma once

#include <string>
#include <vector>

#include "accounting/stats.h"
#include "llama_access.h"

namespace deltastore {

class PackedMemory;

struct MemoryParts {
    llama_kv_cache* attention = nullptr;          // null for a kind of memory that is not served
    llama_kv_cache* window = nullptr;             // of layers with sliding-window attention; packed, too, where the attention is
    llama_memory_recurrent* recurrent = nullptr;  // of layers without attention

    // The packed cache that serves the attention, or null.
    PackedMemory* packed() const;
    // The one of the windows, or null.
    PackedMemory* packed_window() const;
    // Both, as far as there are any.
    std::vector<PackedMemory*> all_packed() const;
    // The parts beside the attention: none for most models.
    std::vector<llama_memory_i*> beside() const;
    // Of all packed parts: positions and what was evicted as the attention has them, bytes and pages together.
    CacheStats stats() const;
    // Bytes of the recurrent states, as llama.cpp has allocated them.
    size_t bytes_beside() const;

    // Why a sequence can't go on, or be forked, behind its first `end` tokens; empty if it can. A recurrent state is that of the newest token, and a
    // window part may have dropped rows that the window there needs. A kept prefix has its state at its end.
    std::string why_not_behind(llama_seq_id sequence, llama_pos end) const;
};

MemoryParts parts_of(const llama_memory_i* memory);

}  // namespace deltastore
