// What tells files apart by their contents.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace deltastore {

using ContentHash = std::array<uint8_t, 16>;

// Of every byte of a file. Takes several threads. Throws CodedError: MODEL_NOT_FOUND if it can't be read, MODEL_CHANGED if it gets shorter meanwhile.
ContentHash content_hash(const std::string& path);

}  // namespace deltastore
