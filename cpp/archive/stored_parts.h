// A snapshot's blocks and tails as pages in memory, without a cache: what an archive's codecs read and write. Their bytes are those of snapshot.h.
#pragma once

#include <map>

#include "snapshot/parts.h"

namespace deltastore {

// What a snapshot's head says of all its parts, and its centres.
class StoredHead {
public:
    // Throws CodedError STATE_FOREIGN or STATE_DAMAGED.
    StoredHead(ByteSpan head, const std::vector<ByteSpan>& centres);

    bool rotated() const { return rotated_; }
    const std::vector<HeadShape>& shapes() const { return shapes_; }  // [table]
    int layer_of(int table) const { return layer_of_[table]; }
    int tables() const { return int(shapes_.size()); }
    // The vector that was taken from a table's keys, [key_dim]; null for tag 0. Throws CodedError STATE_DAMAGED where the head has none such.
    const float* centre(uint64_t tag, int table) const;
    // What all parts of the snapshot stand for: the origin's bytes, the rotation and the shapes.
    const Bytes& made_with() const { return made_with_; }

private:
    bool rotated_ = false;
    std::vector<HeadShape> shapes_;
    std::vector<int> layer_of_;
    std::vector<size_t> offsets_;  // [table] of a centre's part
    std::map<uint64_t, std::vector<float>> centres_;
    Bytes made_with_;
};

// A reference and its page, of the layout's size; of an F16 page the rows in use only.
struct StoredPage {
    PageRef reference;  // its centre is an index into the part's tags
    PageLayout layout;
    Bytes bytes;
};

// More than any model has, and what a part's pages can take: heads and parts may be forged.
inline constexpr size_t kMostTables = 1 << 16;
inline constexpr size_t kMostPartBytes = size_t(1) << 31;

struct StoredPart {
    bool is_tail = false;
    uint64_t origin = 0;          // of a block
    std::vector<uint64_t> tags;   // of centres
    std::vector<std::vector<StoredPage>> tables;  // [table]; of a block one page at most
    Bytes rest;                   // of a tail: the watch
    size_t page_bytes = 0;

    // Throws CodedError STATE_DAMAGED above kMostPartBytes of pages.
    StoredPage& add_page(const StoredHead& head, int table, const PageRef& reference);
    uint64_t tag(const PageRef& reference) const { return reference.centre == kNoCentre ? 0 : tags[reference.centre]; }
};

// Whether the bytes are a block or a tail. Tails of models with windows or recurrent layers begin otherwise.
bool is_stored_part(ByteSpan bytes);
// Throws CodedError STATE_FOREIGN or STATE_DAMAGED.
StoredPart read_part(const StoredHead& head, ByteSpan bytes);
// The same bytes again.
Bytes write_part(const StoredHead& head, const StoredPart& part);

}  // namespace deltastore
