// What the parts of a snapshot have in common, for those who write and read them.
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>

#include "snapshot.h"

namespace deltastore {

inline constexpr char kHead[] = "DSNH", kBlock[] = "DSNB", kTail[] = "DSNT";

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
