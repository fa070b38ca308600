// A sequence's state in the parts of a memory beside the attention, as bytes: "DSBS", u32 version, u64 count, that many bytes as llama.cpp writes
// them, part by part, u64 checksum of these.
#pragma once

#include "memory_parts.h"
#include "snapshot/snapshot.h"

namespace deltastore {

// llama.cpp's bytes alone, and how many there are.
Bytes raw_beside_state(const MemoryParts& parts, llama_seq_id sequence);
size_t count_raw_beside_state(const MemoryParts& parts, llama_seq_id sequence);

// `sequence` below 0: of all.
Bytes beside_state(const MemoryParts& parts, llama_seq_id sequence);
bool begins_beside_state(const uint8_t* bytes, size_t count);
// llama.cpp's bytes of such a state, which begins at the reader's place. Throws CodedError STATE_DAMAGED.
Bytes read_beside_state(const ReadBytes& read);
// Replaces a sequence's state, whose rows of the attention are there already. Throws CodedError STATE_DAMAGED, STATE_MODEL_MISMATCH,
// STATE_FORMAT_MISMATCH, POOL_LIMIT_REACHED, OUT_OF_MEMORY, and std::bad_alloc; then the sequence is empty in these parts.
void restore_beside(const MemoryParts& parts, llama_seq_id sequence, const Bytes& bytes);

// A whole memory, for state files. Reading throws what the parts throw; then the sequence is empty.
void write_whole(const MemoryParts& parts, llama_io_write_i& io, llama_seq_id sequence);
void read_whole(const MemoryParts& parts, llama_io_read_i& io, llama_seq_id sequence);

}  // namespace deltastore
