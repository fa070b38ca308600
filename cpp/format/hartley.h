// Discrete Hartley transforms of odd sizes (Bracewell, "Discrete Hartley transform", 1983). Their matrices are symmetric and their own
// inverses, as Hadamard's are, and no element of them is above sqrt(2 / size).
#pragma once

namespace deltastore {

inline constexpr int kMostHartley = 15;

struct HartleyTable {
    // [size / 2][i]: element (j, k) of the matrix of that size is the one of i = j k modulo the size.
    float at[kMostHartley / 2 + 1][kMostHartley];
};

namespace hartley {

inline constexpr double kTurn = 6.283185307179586;

// cos x + sin x for |x| <= pi, by their series.
constexpr double cos_and_sin(double x) {
    double term = 1, sum = 0;
    for (int n = 1; n <= 40; n++) {
        sum += (n - 1) % 4 < 2 ? term : -term;
        term *= x / n;
    }
    return sum;
}

constexpr double root(double x) {
    double found = x;
    for (int i = 0; i < 50; i++) found = 0.5 * (found + x / found);
    return found;
}

constexpr HartleyTable make() {
    HartleyTable table{};
    for (int size = 1; size <= kMostHartley; size += 2)
        for (int i = 0; i < size; i++)
            table.at[size / 2][i] = float(cos_and_sin(kTurn * (2 * i > size ? i - size : i) / size) / root(size));
    return table;
}

}  // namespace hartley

inline constexpr HartleyTable kHartley = hartley::make();

}  // namespace deltastore
