// Rows that codecs go through: ordinary ones, and those at the ends of what a half or a float holds.
#pragma once

#include <functional>
#include <vector>

#include "kernels/codec.h"
#include "check.h"
#include "random.h"

namespace deltastore {

inline const int kDims[] = {64, 128, 192, 256, 80, 96, 112, 72, 8, 160};
inline const char* const kInputs[] = {"gaussian", "zeros", "outlier", "tiny", "subnormal", "constant", "alternating", "edge of half range", "ramp"};
inline constexpr int kInputCount = sizeof kInputs / sizeof *kInputs;

inline std::vector<float> make_rows(int kind, int count, int dim, Random& random) {
    std::vector<float> rows = random.gaussians(size_t(count) * dim);
    for (int r = 0; r < count; r++) {
        float* row = rows.data() + size_t(r) * dim;
        const float constant = random.gaussian();
        const int outlier = random.between(0, dim - 1);
        for (int d = 0; d < dim; d++) {
            switch (kind) {
                case 1: row[d] = d % 2 ? 0.0f : -0.0f; break;
                case 2: row[d] = d == outlier ? (r % 2 ? 65504.0f : -65504.0f) : row[d] * 1e-3f; break;
                case 3: row[d] *= 1e-20f; break;
                case 4: row[d] *= 1e-42f; break;
                case 5: row[d] = constant; break;
                case 6: row[d] = d % 2 ? constant : -constant; break;
                case 7: row[d] = (row[d] < 0 ? -1 : 1) * (65504.0f - 32.0f * random.between(0, 3)); break;
                case 8: row[d] = float(d - dim / 2); break;
                default: break;
            }
        }
    }
    return rows;
}

// Runs `checks` with every kernel that this processor has, each time with the same random numbers.
inline void with_each_kernel(const std::function<void(const Kernels&, Random&)>& checks) {
    const Kernels* found[4];
    const int count = available_kernels(found);
    for (int k = 0; k < count; k++) {
        Random random(check::state().seed);
        checks(*found[k], random);
    }
}

}  // namespace deltastore
