// A sequence as parts that can be stored: blocks, which never change again, and a tail, which the next rows will change.
//
// Block k has the k-th part of every table. A part is a page that no row will join: it is full, or gapped, or other pages follow it. Where rows
// stay F16 the tail would be large, so there a part is kPartRows rows of a page. Equal rows make equal bytes in every context, since a block
// names the centres of its pages by tags. Numbers are little endian; references are as in rows_io.h.
//   head    "DSNH", u32 version, origin, shapes, u32 tokens, extent, u32 blocks, i32 end of what the blocks hold in every table, i32 end,
//           centre tags, retrieval heads
//   centre  [table][key dim] f32, one for each of the head's tags, in their order
//   block   "DSNB", u32 version, u64 origin, u8 rotation, centre tags, per table {u8 whether it has a part, its head}; then the first field
//           of all parts, then their second, and so on, since codes compress best among codes and scales among scales
//   tail    "DSNT", u32 version, centre tags, per table {u32 references, references}, u8 watched queries, the watch if there are any
// Centre tags are {u8 count, u64 each}; a reference's centre is an index into them. All parts have the head's version. In version 1 a u64
// fingerprint, of the model and of positions, stands where the origin is.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include "cache.h"
#include "origin.h"
#include "rows_io.h"

namespace deltastore {

inline constexpr uint32_t kSnapshotVersion = 2;
// Says nothing of adapters, and of weights what a fingerprint does.
inline constexpr uint32_t kSnapshotWithFingerprint = 1;

using Bytes = std::vector<uint8_t>;

// What the bytes of a block's part are made of. Blocks with equal identities have the same bytes, in one process and with one version, origin and
// rotation; so a block that was stored before is known without being read. Blocks with other identities may have the same bytes, too.
struct PartIdentity {
    uint64_t slab = 0;
    uint64_t tag = 0;  // of the centre
    uint32_t changes = 0;
    int32_t position = 0;
    uint16_t page = 0;
    uint8_t begin = 0, count = 0, rows = 0;  // no rows: there is no part
    Format format = Format::f16;
    PageKind kind = PageKind::plain;
    uint8_t unused = 0;
};
static_assert(std::has_unique_object_representations_v<PartIdentity>, "compared byte by byte");

// Holds references to a sequence's blocks, so that these stay as they are whatever becomes of the sequence.
class Snapshot {
public:
    // Not while a batch with this sequence is computed; its keys must have followed all shifts.
    Snapshot(std::shared_ptr<Cache> cache, const Origin& origin, int sequence);
    ~Snapshot();
    Snapshot(const Snapshot&) = delete;
    Snapshot& operator=(const Snapshot&) = delete;

    const Bytes& head() const { return head_; }
    const Bytes& tail() const { return tail_; }
    int blocks() const { return blocks_; }
    // From any thread.
    Bytes block(int index) const;
    const std::vector<Bytes>& centres() const { return centres_; }
    // [block][table]
    const std::vector<PartIdentity>& identities() const { return identities_; }

private:
    // Of parts, which lie in pages that stay as they are.
    Bytes write_block(const std::vector<PageTable>& parts, size_t index) const;

    std::shared_ptr<Cache> cache_;
    uint64_t origin_;  // its value
    std::vector<PageTable> held_;   // [table]
    std::vector<PageTable> parts_;  // [table], of the blocks in those pages
    std::vector<Bytes> open_;       // the blocks behind those: of a page that the next rows will join
    int blocks_ = 0;                // of both kinds
    std::vector<PartIdentity> identities_;
    Bytes head_, tail_;
    std::vector<uint64_t> tags_ = std::vector<uint64_t>(kNoCentre);  // of the cache's centres that the sequence names
    std::vector<Bytes> centres_;
};

struct ByteSpan {
    const uint8_t* data = nullptr;
    size_t size = 0;
};

struct SnapshotParts {
    ByteSpan head;
    std::vector<ByteSpan> centres, blocks;
    ByteSpan tail;  // no data: the sequence gets what the blocks hold
};

struct Restored {
    int tokens;  // that the sequence holds
    std::vector<PartIdentity> identities;  // [block][table]: those that a snapshot's would have
};

// Replaces what a sequence holds, and its tier; pages that other sequences have already are shared with them. All or nothing. `fingerprint`: the model's,
// for states of version 1. Throws CodedError: STATE_FOREIGN, STATE_MODEL_MISMATCH, STATE_FORMAT_MISMATCH, STATE_DAMAGED, STATE_TOO_LARGE,
// POOL_LIMIT_REACHED or OUT_OF_MEMORY. Not while a batch is computed.
Restored restore_snapshot(Cache& cache, const Origin& origin, uint64_t fingerprint, int sequence, int tier, size_t most_tokens, const SnapshotParts& parts);

}  // namespace deltastore
