// How one sequence takes the first tokens of another over, in all parts of a memory. Sequences behind the context's own hold kept prefixes: packed parts
// have numbers for them, and the state that recurrent layers had at their ends is kept as bytes.
#pragma once

#include "memory_parts.h"
#include "packed_memory.h"

namespace deltastore {

// Replaces the target's rows by the first `end` positions of the source. An empty code says that it is done; else the target is as it was, or it is
// empty, where a part behind the first had no memory, or a kept state can't be read. Between batches.
FailureReport fork_prefix(const MemoryParts& parts, llama_seq_id source, llama_seq_id target, llama_pos end);

// So many of a sequence's first `end` positions can be taken over by another one, see `Cache::prefix_end`.
int32_t shared_end(const MemoryParts& parts, llama_seq_id sequence, int32_t end);

// Bytes that a prefix kept of the sequence now would have beside its rows: pages of windows, and recurrent layers' state.
size_t bytes_of_state(const MemoryParts& parts, llama_seq_id sequence);

void clear_sequence(const MemoryParts& parts, llama_seq_id sequence);

}  // namespace deltastore
