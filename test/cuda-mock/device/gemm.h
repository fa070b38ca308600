#pragma once

#include <cstddef>
#include <vector>

namespace cuda_mock {

enum class Number { F32 = 0, F16 = 2, BF16 = 14 };  // as cudaDataType numbers them

/** A matrix by columns; transposed when it is read, if `transposed`. */
struct Matrix {
    const void* data;
    Number type;
    int leading;
    bool transposed = false;
};

/** C (m x n) = alpha x A (m x k) x B (k x n) + beta x C, on device memory, at once. */
void multiply(int m, int n, int k, float alpha, Matrix a, Matrix b, float beta, Matrix c);

}  // namespace cuda_mock
