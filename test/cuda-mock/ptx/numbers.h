#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

// Numbers that C++17 lacks. Their arithmetic goes over float, which is exact enough to round once.

namespace cuda_mock {

struct Half {
    uint16_t bits = 0;

    Half() = default;
    explicit Half(float value) {
        const _Float16 half = static_cast<_Float16>(value);
        std::memcpy(&bits, &half, 2);
    }
    explicit Half(double value) {
        const _Float16 half = static_cast<_Float16>(value);
        std::memcpy(&bits, &half, 2);
    }
    operator float() const {
        _Float16 half;
        std::memcpy(&half, &bits, 2);
        return static_cast<float>(half);
    }
};

struct Bfloat {
    uint16_t bits = 0;

    Bfloat() = default;
    explicit Bfloat(float value) {  // to the nearest, ties to even
        uint32_t all;
        std::memcpy(&all, &value, 4);
        bits = std::isnan(value) ? 0x7FFF : uint16_t((all + 0x7FFF + (all >> 16 & 1)) >> 16);
    }
    operator float() const {
        const uint32_t all = uint32_t(bits) << 16;
        float value;
        std::memcpy(&value, &all, 4);
        return value;
    }
};

template <class T> struct Pair {
    T low, high;
};

}  // namespace cuda_mock
