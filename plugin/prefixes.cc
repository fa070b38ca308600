#include "prefixes.h"

#include <exception>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "beside_state.h"

namespace deltastore {

static FailureReport refused(std::string reason) { return {"OPTION_INVALID", std::move(reason)}; }

// What the recurrent layers do when packed rows are forked: a kept prefix has their state as bytes.
static FailureReport fork_states(const MemoryParts& parts, llama_seq_id source, llama_seq_id target, llama_pos end) {
    PackedMemory& memory = *parts.packed();
    try {
        if (memory.is_kept(target)) return memory.report(memory.kept_states().keep(target, {end, raw_beside_state(parts, source)}));
        if (memory.is_kept(source)) {
            const auto state = memory.kept_states().of(source);
            if (state == nullptr) return refused("No prefix is kept in sequence " + std::to_string(source));
            restore_beside(parts, target, state->bytes);
        } else {
            parts.recurrent->seq_rm(target, -1, -1);
            if (end > 0) parts.recurrent->seq_cp(source, target, 0, end);
        }
        return {};
    } catch (const CodedError& error) {
        return {error.code(), error.what()};
    } catch (const std::bad_alloc&) {
        return memory.report(Failure::out_of_memory);
    } catch (const std::exception& error) {  // llama.cpp's own
        return {"NATIVE_FAILURE", error.what()};
    }
}

FailureReport fork_prefix(const MemoryParts& parts, llama_seq_id source, llama_seq_id target, llama_pos end) {
    if (source == target) return {};
    if (std::string reason = parts.why_not_behind(source, end); !reason.empty()) return refused(std::move(reason));
    if (parts.recurrent != nullptr && parts.packed()->is_kept(target) && parts.recurrent->seq_pos_max(source) + 1 != end)
        return refused("A prefix is kept where its sequence ends, and that is not at " + std::to_string(end));
    FailureReport report;
    for (PackedMemory* memory : parts.all_packed()) {
        try {
            const Failure failure = memory->cache().fork(source, target, 0, end);
            report = memory->report(failure);
            if (failure != Failure::none && memory == parts.packed()) return report;  // nothing has changed yet
        } catch (const std::bad_alloc&) {
            report = memory->report(Failure::out_of_memory);
        }
        if (!report.code.empty()) break;
    }
    if (report.code.empty() && parts.recurrent != nullptr) report = fork_states(parts, source, target, end);
    if (!report.code.empty()) clear_sequence(parts, target);
    return report;
}

int32_t shared_end(const MemoryParts& parts, llama_seq_id sequence, int32_t end) {
    const int32_t shared = parts.packed()->cache().prefix_end(sequence, end);
    if (parts.window == nullptr) return shared;
    // A sliding window may be hardly longer than what is not packed of it.
    const Cache& cache = parts.packed_window()->cache();
    std::lock_guard<std::mutex> guard(cache.lock());
    const Tier& tier = cache.tier(sequence);
    return cache.table().is_open(sequence, shared, tier.packs() ? tier.window : 0) ? shared : 0;
}

size_t bytes_of_state(const MemoryParts& parts, llama_seq_id sequence) {
    size_t bytes = parts.recurrent != nullptr ? count_raw_beside_state(parts, sequence) : 0;
    if (parts.window == nullptr) return bytes;
    const Cache& cache = parts.packed_window()->cache();
    std::lock_guard<std::mutex> guard(cache.lock());
    return bytes + size_t(page_bytes_of(cache.table(), sequence));
}

void clear_sequence(const MemoryParts& parts, llama_seq_id sequence) {
    for (PackedMemory* memory : parts.all_packed()) memory->seq_rm(sequence, -1, -1);
    if (parts.recurrent != nullptr && !parts.packed()->is_kept(sequence)) parts.recurrent->seq_rm(sequence, -1, -1);
}

}  // namespace deltastore
