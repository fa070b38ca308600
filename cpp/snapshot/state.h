// Sequences as bytes: what `saveStateToFile` writes.
//
// All numbers little endian.
//   "DSTS", u32 version, origin (version 5: u64 model fingerprint), u8 rotation, u32 layers, per layer {u32 KV heads, u32 key dim, u32 value dim}
//   u32 centres, per centre [table][key dim] f32
//   u32 sequences, per sequence: i32 id, u32 tokens, u8 evicted, i32 first position, i32 past the last, i32 past the last when rows were evicted
//     (0 if none were), per table: u32 references, per reference {i32 position, u16 count, u16 rows, u16 first row, u8 format, u8 centre, u8 kind}
//     and its rows: the whole page if it is coded or has gaps, else f16 keys and values of the rows in use
//   u64 checksum of everything before
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "byte_io.h"
#include "cache.h"
#include "origin.h"

namespace deltastore {

inline constexpr uint32_t kStateVersion = 6;
// Says nothing of positions and adapters, and of weights what a fingerprint does.
inline constexpr uint32_t kStateWithFingerprint = 5;

// Keys must have followed all shifts (Cache::apply_shifts).
void write_state(const Cache& cache, const Origin& origin, const std::vector<int>& sequences, const WriteBytes& write);

// Replaces sequences by those read: with `target` >= 0 the state must hold one sequence, which goes there. All or nothing.
// `fingerprint`: the model's, for states of version 5.
// Throws CodedError: STATE_FOREIGN, STATE_MODEL_MISMATCH, STATE_FORMAT_MISMATCH, STATE_DAMAGED, STATE_TOO_LARGE,
// POOL_LIMIT_REACHED or OUT_OF_MEMORY.
void read_state(Cache& cache, const Origin& origin, uint64_t fingerprint, int target, size_t most_tokens, const ReadBytes& read);

}  // namespace deltastore
