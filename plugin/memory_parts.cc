#include "memory_parts.h"

#include <algorithm>

#include "packed_memory.h"

namespace deltastore {

MemoryParts parts_of(const llama_memory_i* memory) {
    if (const auto* cache = dynamic_cast<const llama_kv_cache_iswa*>(memory)) return {cache->get_base(), cache->get_swa(), nullptr};
    if (const auto* hybrid = dynamic_cast<const llama_memory_hybrid*>(memory)) return {hybrid->get_mem_attn(), nullptr, hybrid->get_mem_recr()};
    return {const_cast<llama_kv_cache*>(dynamic_cast<const llama_kv_cache*>(memory)), nullptr, nullptr};
}

PackedMemory* MemoryParts::packed() const {
    return dynamic_cast<PackedMemory*>(attention);
}

std::vector<llama_memory_i*> MemoryParts::beside() const {
    std::vector<llama_memory_i*> parts;
    if (window != nullptr) parts.push_back(window);
    if (recurrent != nullptr) parts.push_back(recurrent);
    return parts;
}

bool MemoryParts::all_end_at(llama_seq_id sequence, llama_pos end) const {
    const std::vector<llama_memory_i*> others = beside();
    return attention->seq_pos_max(sequence) + 1 == end &&
           std::all_of(others.begin(), others.end(), [&](llama_memory_i* part) { return part->seq_pos_max(sequence) + 1 == end; });
}

size_t MemoryParts::bytes_beside() const {
    size_t bytes = 0;
    for (const llama_memory_i* part : beside())
        for (const auto& [type, size] : part->memory_breakdown()) bytes += size;
    return bytes;
}

std::string MemoryParts::why_not_behind(llama_seq_id sequence, llama_pos end) const {
    const llama_pos held = attention->seq_pos_max(sequence) + 1;
    if (end <= 0 || held == 0) return "";
    if (packed()->is_kept(sequence)) {
        const auto state = needs_states() ? packed()->kept_states().of(sequence) : nullptr;
        if (!needs_states() || (state != nullptr && state->end == end && held == end)) return "";
        return "A kept prefix of " + std::to_string(held) + " tokens is taken over whole, not at " + std::to_string(end);
    }
    if (recurrent != nullptr && end < held)
        return "The model has recurrent layers, which hold the state of the newest token only. So the sequence goes on behind all of its " +
               std::to_string(held) + " tokens, not behind " + std::to_string(end);
    if (window == nullptr) return "";
    const llama_pos first = window->seq_pos_min(sequence);
    if (first == 0 || (first > 0 && packed()->is_unreached(first - 1, end))) return "";
    return "The model has layers with a sliding window of " + std::to_string(packed()->window_tokens()) + " tokens, which hold rows from position " +
           std::to_string(first) + " on only. So the sequence can't go on behind its first " + std::to_string(end) + " tokens";
}

void MemoryParts::copy_beside(llama_seq_id source, llama_seq_id target, llama_pos end) const {
    for (llama_memory_i* part : beside()) {
        part->seq_rm(target, -1, -1);
        if (end > 0) part->seq_cp(source, target, 0, end);
    }
}

void MemoryParts::drop_unreached() const {
    const PackedMemory& cache = *packed();
    for (llama_seq_id sequence = 0; sequence < cache.cache().options().max_sequences; sequence++) {
        const llama_pos reached = window->seq_pos_max(sequence) + 1 - llama_pos(cache.window_tokens());
        if (reached > 0) window->seq_rm(sequence, 0, reached);
    }
}

void MemoryParts::make_room_for_state() const {
    if (window == nullptr) return;
    const llama_kv_cells& cells = window->get_cells(0);
    if (cells.size() - cells.get_used() < packed()->window_tokens() + packed()->batch_tokens()) drop_unreached();
}

}  // namespace deltastore
