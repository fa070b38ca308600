// What the parts of a snapshot have in common, for those who write and read them.
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>

#include "snapshot.h"

namespace deltastore {

inline constexpr char kHead[] = "DSNH", kBlock[] = "DSNB", kTail[] = "DSNT";

// Appends.
inline Writer writer_to(Bytes& bytes) {
    return Writer([&bytes](const void* source, size_t count) {
        bytes.resize(bytes.size() + count);
        if (count > 0) std::memcpy(bytes.data() + bytes.size() - count, source, count);
    });
}

// Reads a span from its beginning to its end.
class SpanReader {
public:
    explicit SpanReader(ByteSpan span) : left_(span) {}
    Reader reader() {
        return Reader([this](void* target, size_t count) {
            if (count > left_.size) throw std::runtime_error(std::to_string(left_.size) + " bytes are left");
            if (count > 0) std::memcpy(target, left_.data, count);
            left_.data += count;
            left_.size -= count;
        });
    }
    size_t left() const { return left_.size; }
    void finish() const {
        if (left_.size > 0) throw CodedError("STATE_DAMAGED", "The state has " + std::to_string(left_.size) + " bytes too many");
    }

private:
    ByteSpan left_;
};

// Of a part of that kind. Throws CodedError STATE_FOREIGN.
inline uint32_t read_version(const char* kind, Reader& reader) {
    char magic[4];
    reader.bytes(magic, sizeof magic);
    if (std::memcmp(magic, kind, sizeof magic) != 0) throw CodedError("STATE_FOREIGN", "A part of the state is not what it should be");
    const uint32_t version = reader.number<uint32_t>();
    if (version < kSnapshotWithFingerprint || version > kSnapshotVersion)
        throw CodedError("STATE_FOREIGN", "The state has version " + std::to_string(version) + "; this build reads " +
                                              std::to_string(kSnapshotWithFingerprint) + " to " + std::to_string(kSnapshotVersion));
    return version;
}

// What a part begins with: its kind and its version.
inline constexpr size_t kKindBytes = 8;
inline void write_kind(const char* kind, Writer& writer) {
    writer.bytes(kind, 4);
    writer.number(kSnapshotVersion);
}

// Throws CodedError STATE_DAMAGED for another version.
inline void require_version(const char* kind, uint32_t version, Reader& reader) {
    if (read_version(kind, reader) != version) throw CodedError("STATE_DAMAGED", "A part of the state has another version than its head");
}

// What a page names a centre by outside the cache.
inline uint64_t tag_of(const void* centre, size_t bytes) {
    Checksum checksum;
    checksum.add(centre, bytes);
    return checksum.value();
}

// `tag`: of the part's centre; 0 without.
inline PartIdentity identity_of(const PagePool& pool, const PageRef& part, uint64_t tag) {
    const PageVersion version = pool.version(part.page);
    return {version.slab, tag, version.changes, part.position, version.page, part.begin, part.count, part.rows, part.format, part.kind};
}

}  // namespace deltastore
