#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace cuda_mock {

// Lambdas can't be made from their type in C++17, so operations are types.
struct Add {
    template <class T> T operator()(T a, T b) const { return T(a + b); }
};
struct Sub {
    template <class T> T operator()(T a, T b) const { return T(a - b); }
};
struct Mul {
    template <class T> T operator()(T a, T b) const { return T(a * b); }
};
struct Div {
    template <class T> T operator()(T a, T b) const {
        if constexpr (std::is_integral_v<T>)
            return b == 0 ? T(-1) : T(a / b);
        else
            return a / b;
    }
};
struct Rem {
    template <class T> T operator()(T a, T b) const { return b == 0 ? a : T(a % b); }
};
struct Min {
    template <class T> T operator()(T a, T b) const {
        if constexpr (std::is_floating_point_v<T>)
            return std::fmin(a, b);
        else
            return std::min(a, b);
    }
};
struct Max {
    template <class T> T operator()(T a, T b) const {
        if constexpr (std::is_floating_point_v<T>)
            return std::fmax(a, b);
        else
            return std::max(a, b);
    }
};
struct CopySign {
    float operator()(float a, float b) const { return std::copysign(b, a); }
};
struct Neg {
    template <class T> T operator()(T a) const { return T(-a); }
};
struct Abs {
    template <class T> T operator()(T a) const { return a < 0 ? T(-a) : a; }
};
struct AbsFloat {
    float operator()(float a) const { return std::fabs(a); }
};
struct Rcp {
    float operator()(float a) const { return 1 / a; }
};
struct Rsqrt {
    float operator()(float a) const { return 1 / std::sqrt(a); }
};
struct Sqrt {
    float operator()(float a) const { return std::sqrt(a); }
};
struct Exp2 {
    float operator()(float a) const { return std::exp2(a); }
};
struct Log2 {
    float operator()(float a) const { return std::log2(a); }
};
struct Sin {
    float operator()(float a) const { return std::sin(a); }
};
struct Cos {
    float operator()(float a) const { return std::cos(a); }
};
struct Tanh {
    float operator()(float a) const { return std::tanh(a); }
};

}  // namespace cuda_mock
