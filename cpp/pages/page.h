// What a page is to the cache: a handle. Its bytes are behind a place (place.h).
#pragma once

#include <cstdint>

namespace deltastore {

// The page's slab and, in 64 bytes, its offset there; stays the same for the page's life.
enum class Page : uint32_t {};

inline constexpr Page kNoPage{UINT32_MAX};

}  // namespace deltastore
