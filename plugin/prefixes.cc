#include "prefixes.h"

#include <exception>
#include <new>
#include <string>
#include <utility>

#include "beside_state.h"

namespace deltastore {

static FailureReport refused(std::string reason) { return {"OPTION_INVALID", std::move(reason)}; }

// Keeps what the source holds now.
static FailureReport keep(const MemoryParts& parts, llama_seq_id source, llama_seq_id target, llama_pos end) {
    PackedMemory& memory = *parts.packed();
    if (!parts.all_end_at(source, end)) return refused("A prefix is kept where its sequence ends, and that is not at " + std::to_string(end));
    clear_sequence(parts, target);
    Failure failure = memory.cache().fork(source, target, 0, end);
    try {
        if (failure == Failure::none) failure = memory.kept_states().keep(target, {end, bytes_beside(parts, source)});
    } catch (const std::bad_alloc&) {
        failure = Failure::out_of_memory;
    }
    if (failure == Failure::none) return {};
    FailureReport report = memory.report(failure);
    clear_sequence(parts, target);
    return report;
}

// The target gets a kept prefix whole.
static FailureReport take(const MemoryParts& parts, llama_seq_id source, llama_seq_id target, llama_pos end) {
    PackedMemory& memory = *parts.packed();
    const auto state = memory.kept_states().of(source);
    if (state == nullptr) return refused("No such prefix is kept");
    const Failure failure = memory.cache().fork(source, target, 0, end);
    if (failure != Failure::none) return memory.report(failure);
    try {
        restore_beside(parts, target, state->bytes);
        return {};
    } catch (const CodedError& error) {
        clear_sequence(parts, target);
        return {error.code(), error.what()};
    } catch (const std::bad_alloc&) {
        clear_sequence(parts, target);
        return memory.report(Failure::out_of_memory);
    }
}

FailureReport fork_prefix(const MemoryParts& parts, llama_seq_id source, llama_seq_id target, llama_pos end) {
    PackedMemory& memory = *parts.packed();
    if (source == target) return {};
    if (std::string reason = parts.why_not_behind(source, end); !reason.empty()) return refused(std::move(reason));
    if (parts.needs_states()) {
        if (memory.is_kept(source)) return take(parts, source, target, end);
        if (memory.is_kept(target)) return keep(parts, source, target, end);
    }
    const Failure failure = memory.cache().fork(source, target, 0, end);
    if (failure != Failure::none) return memory.report(failure);
    return parts.copy_beside(source, target, end) ? FailureReport{} : parts.packed_window()->take_failure();
}

void clear_sequence(const MemoryParts& parts, llama_seq_id sequence) {
    parts.attention->seq_rm(sequence, -1, -1);
    if (parts.packed()->is_kept(sequence)) return;
    for (llama_memory_i* part : parts.beside()) part->seq_rm(sequence, -1, -1);
}

}  // namespace deltastore
