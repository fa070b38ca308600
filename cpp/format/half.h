// IEEE binary16 conversions without hardware support; the kernels use the processor's own where it has them.
// Static, so that no instruction set's copy is linked into another's file.
#pragma once

#include <cstdint>
#include <cstring>

namespace deltastore {

static inline float float_from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_from_float(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float half_to_float(uint16_t half) {
    const uint32_t sign = uint32_t(half & 0x8000u) << 16;
    const uint32_t exponent = (half >> 10) & 0x1fu;
    const uint32_t mantissa = half & 0x3ffu;
    if (exponent == 0) {  // zero and subnormals: mantissa x 2^-24
        const float magnitude = float(mantissa) * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    if (exponent == 31) return float_from_bits(sign | 0x7f800000u | (mantissa << 13));
    return float_from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

// Round to nearest even. Finite values beyond the range become the largest finite half and NaN becomes 0, so that one bad
// element can't poison a whole attention row.
static inline uint16_t float_to_half(float value) {
    const uint32_t bits = bits_from_float(value);
    const uint16_t sign = uint16_t((bits >> 16) & 0x8000u);
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return 0;
    if (magnitude >= 0x477ff000u) return sign | 0x7bffu;  // 65520 and above would round to infinity
    if (magnitude < 0x38800000u) {                        // below 2^-14: subnormal, exact in steps of 2^-24
        const float scaled = float_from_bits(magnitude) * 0x1p24f;
        const float rounded = (scaled + 8388608.0f) - 8388608.0f;
        return sign | uint16_t(rounded);
    }
    const uint32_t odd = (magnitude >> 13) & 1u;
    return sign | uint16_t(((magnitude - 0x38000000u) + 0xfffu + odd) >> 13);
}

}  // namespace deltastore
