#include "memory_parts.h"

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

PackedMemory* MemoryParts::packed_window() const {
    return dynamic_cast<PackedMemory*>(window);
}

std::vector<PackedMemory*> MemoryParts::all_packed() const {
    std::vector<PackedMemory*> found;
    for (PackedMemory* memory : {packed(), packed_window()})
        if (memory != nullptr) found.push_back(memory);
    return found;
}

std::vector<llama_memory_i*> MemoryParts::beside() const {
    std::vector<llama_memory_i*> parts;
    if (window != nullptr) parts.push_back(window);
    if (recurrent != nullptr) parts.push_back(recurrent);
    return parts;
}

CacheStats MemoryParts::stats() const {
    CacheStats stats = packed()->cache().stats();
    if (packed_window() == nullptr) return stats;
    const CacheStats window = packed_window()->cache().stats();
    stats.resident_bytes += window.resident_bytes;
    stats.peak_resident_bytes += window.peak_resident_bytes;
    stats.pages += window.pages;
    stats.kept_bytes += window.kept_bytes;
    stats.state_bytes += window.kept_bytes;
    for (size_t sequence = 0; sequence < window.sequences.size(); sequence++) {
        stats.sequences[sequence].resident_bytes += window.sequences[sequence].resident_bytes;
        stats.sequences[sequence].shared_bytes += window.sequences[sequence].shared_bytes;
        stats.stock_bytes += packed_window()->stock_bytes(stats.sequences[sequence].tokens);
    }
    return stats;
}

size_t MemoryParts::bytes_beside() const {
    size_t bytes = 0;
    if (recurrent != nullptr)
        for (const auto& [type, size] : recurrent->memory_breakdown()) bytes += size;
    return bytes;
}

std::string MemoryParts::why_not_behind(llama_seq_id sequence, llama_pos end) const {
    const llama_pos held = attention->seq_pos_max(sequence) + 1;
    if (end <= 0 || held == 0) return "";
    if (recurrent != nullptr && packed()->is_kept(sequence)) {
        const auto state = packed()->kept_states().of(sequence);
        if (state != nullptr && state->end == end && held == end) return "";
        return "A kept prefix of " + std::to_string(held) + " tokens is taken over whole, not at " + std::to_string(end);
    }
    if (recurrent != nullptr && end < held)
        return "The model has recurrent layers, which hold the state of the newest token only. So the sequence goes on behind all of its " +
               std::to_string(held) + " tokens, not behind " + std::to_string(end);
    if (window == nullptr) return "";
    const SlidingWindow& sliding = packed_window()->cache().options().sliding_window;
    const llama_pos first = window->seq_pos_min(sequence);
    if (first >= 0 && first <= sliding.first_seen(end)) return "";
    return "The model has layers with a sliding window of " + std::to_string(sliding.tokens) + " tokens, which hold rows from position " +
           std::to_string(first) + " on only. So the sequence can't go on behind its first " + std::to_string(end) + " tokens";
}

}  // namespace deltastore
