#include "gemm.h"

#include <cstdint>

#include "../ptx/numbers.h"
#include "../ptx/program.h"
#include "memory.h"

namespace cuda_mock {

static size_t bytes_of(Number type) { return type == Number::F32 ? 4 : 2; }

static uint8_t* bytes_of(const Matrix& matrix, size_t rows, size_t columns) {
    if (rows == 0 || columns == 0) return nullptr;
    const size_t bytes = ((columns - 1) * size_t(matrix.leading) + rows) * bytes_of(matrix.type);
    void* found = device_bytes(reinterpret_cast<uint64_t>(matrix.data), bytes);
    if (found == nullptr) throw KernelFault("a matrix goes over memory that isn't allocated");
    return static_cast<uint8_t*>(found);
}

static float read(const uint8_t* data, Number type, size_t index) {
    if (type == Number::F32) return reinterpret_cast<const float*>(data)[index];
    if (type == Number::F16) return reinterpret_cast<const Half*>(data)[index];
    return reinterpret_cast<const Bfloat*>(data)[index];
}

static void write(uint8_t* data, Number type, size_t index, float value) {
    if (type == Number::F32)
        reinterpret_cast<float*>(data)[index] = value;
    else if (type == Number::F16)
        reinterpret_cast<Half*>(data)[index] = Half(value);
    else
        reinterpret_cast<Bfloat*>(data)[index] = Bfloat(value);
}

// As floats, each row (of A) or column (of B) in one piece.
static std::vector<float> gathered(const Matrix& matrix, size_t lines, size_t length, bool lines_are_columns) {
    const uint8_t* data = lines_are_columns ? bytes_of(matrix, length, lines) : bytes_of(matrix, lines, length);
    std::vector<float> result(lines * length);
    for (size_t line = 0; line < lines; line++)
        for (size_t i = 0; i < length; i++)
            result[line * length + i] =
                read(data, matrix.type, lines_are_columns ? line * size_t(matrix.leading) + i : i * size_t(matrix.leading) + line);
    return result;
}

void multiply(int m, int n, int k, float alpha, Matrix a, Matrix b, float beta, Matrix c) {
    const std::vector<float> rows = gathered(a, size_t(m), size_t(k), a.transposed), columns = gathered(b, size_t(n), size_t(k), !b.transposed);
    uint8_t* const to = bytes_of(c, size_t(m), size_t(n));
    for (int column = 0; column < n; column++)
        for (int row = 0; row < m; row++) {
            float sum = 0;
            for (int i = 0; i < k; i++)
                sum += rows[size_t(row) * size_t(k) + size_t(i)] * columns[size_t(column) * size_t(k) + size_t(i)];
            const size_t index = size_t(column) * size_t(c.leading) + size_t(row);
            write(to, c.type, index, alpha * sum + (beta == 0 ? 0 : beta * read(to, c.type, index)));
        }
}

}  // namespace cuda_mock
