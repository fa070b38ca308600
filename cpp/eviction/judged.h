// The rows of a table that may go, in order of position, and what is thought of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace deltastore {

inline constexpr float kUnknown = -1;

struct Judged {
    std::vector<float> means, scores;  // [row]; mean attention from a query, kUnknown if it isn't known; the scorer's score
    std::vector<char> stays;           // [row]
    int fixed = 0;                     // rows besides these
    int needed = 0;                    // of these, the first that have to stay
};

// A mean weight from 0 to 1 in eighths of an octave, 2^-31.75 and less as 1; 0 is not known.
inline uint8_t mean_code(float mean) {
    if (mean < 0) return 0;
    return uint8_t(std::lround(std::min(std::max(255 + 8 * std::log2(mean), 1.0f), 255.0f)));
}

inline float mean_of_code(uint8_t code) {
    return code == 0 ? kUnknown : std::exp2((code - 255) / 8.0f);
}

}  // namespace deltastore
