// Code points of the coded formats, as integers so that the kernels can multiply them without conversion.
#pragma once

#include <cstdint>

namespace deltastore {

// 16-level Lloyd-Max quantizer of a unit Gaussian (Max, "Quantizing for minimum distortion", 1960, table I), expected
// squared error 0.0095; test/native/kernels_test.cpp checks it.
inline constexpr float kLloydMax16[16] = {-2.7326f, -2.0690f, -1.6180f, -1.2562f, -0.9423f, -0.6568f, -0.3881f, -0.1284f,
                                          0.1284f,  0.3881f,  0.6568f,  0.9423f,  1.2562f,  1.6180f,  2.0690f,  2.7326f};

// The same with 8 levels, expected squared error 0.0345.
inline constexpr float kLloydMax8[8] = {-2.1520f, -1.3439f, -0.7560f, -0.2451f, 0.2451f, 0.7560f, 1.3439f, 2.1520f};

// 4-state trellis of 2-bit symbols: value = table[4 * previous symbol + symbol], trained by alternating Viterbi search
// and centroids on a unit Gaussian. Expected squared error 0.0973 for rows of 64, against Lloyd-Max's 0.1175 at 2 bits.
inline constexpr float kTrellis4[16] = {-1.5988f, -0.5953f, 0.1523f,  1.0796f, -0.7824f, 0.1188f,  0.9611f, 1.9753f,
                                        -1.9579f, -0.9423f, -0.1106f, 0.7834f, -1.0407f, -0.1152f, 0.6457f, 1.6274f};

// Keys: 8-bit code points, stored with an offset so that they are unsigned. Queries have 7 bits, so that the sum of two
// products stays inside 16 bits (2 x 255 x 63 < 32768) on processors that only have maddubs. Both codings have one step, so that
// a query's scale holds for pages of either; what rounding to it adds to the squared error of 8 levels is 0.00005.
inline constexpr float kKeyStep = 2.7326f / 127.0f;
inline constexpr int kKeyOffset = 128;
inline constexpr int kQueryMax = 63;

// Values: 7-bit code points, weights of 8 bits, for the same bound.
inline constexpr float kValueStep4 = 2.7326f / 63.0f;
inline constexpr float kValueStep2 = 1.9753f / 63.0f;
inline constexpr int kWeightMax = 255;

// 8-bit rows: evenly spaced code points up to the largest element of a group.
inline constexpr int kLinearKeyMax = 127;
inline constexpr int kLinearValueMax = 63;

inline constexpr int8_t round_code(float value, float step) {
    const float scaled = value / step;
    return int8_t(scaled < 0 ? scaled - 0.5f : scaled + 0.5f);
}

// An 8-bit key's code point as a value's, for a step twice as large: half of it, to the nearest even.
inline constexpr int half_code(int code) { return (code >> 1) + (code & code >> 1 & 1); }

struct Codes16 {
    int8_t at[16];
};

// A table of 8 is repeated: the fourth bit of its index may be anything.
template <int Levels>
inline constexpr Codes16 make_codes(const float (&points)[Levels], float step) {
    Codes16 codes{};
    for (int i = 0; i < 16; i++) codes.at[i] = round_code(points[i % Levels], step);
    return codes;
}

inline constexpr Codes16 kKeyCodes4 = make_codes(kLloydMax16, kKeyStep);
inline constexpr Codes16 kKeyCodes3 = make_codes(kLloydMax8, kKeyStep);
inline constexpr Codes16 kValueCodes4 = make_codes(kLloydMax16, kValueStep4);
inline constexpr Codes16 kValueCodes3 = make_codes(kLloydMax8, kValueStep4);  // of 3-bit keys that are values, too
inline constexpr Codes16 kValueCodes2 = make_codes(kTrellis4, kValueStep2);

}  // namespace deltastore
