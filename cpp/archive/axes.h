// Principal axes of a unit's rows, and how far the rows reach along them.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "kernels/kernels.h"
#include "units.h"

namespace deltastore {

// Bytes: {f32 mean [dims], f32 scale [tables], i8 width [dims], f32 step [dims], i8 elements [axis][dims]}.
class Axes {
public:
    // Of a covariance [dims][dims] of rows less their mean. scales: [table] of the unit, what rows are divided by first.
    Axes(const std::vector<double>& covariance, const std::vector<float>& mean, const std::vector<float>& scales, const std::vector<int>& dims);
    // dims: [table]. Throws CodedError STATE_DAMAGED.
    Axes(const std::vector<int>& dims, Reader& reader);
    void write(Writer& writer) const;

    int dims() const { return int(mean_.size()); }
    // In 1 / kOctave octaves: an axis' standard deviation. Descending.
    int width(int axis) const { return widths_[axis]; }
    // rows: [count][dims], which are changed; along: [count][padded], of which the first `axes` are set.
    void transform(const Kernels& kernels, float* rows, int count, int axes, float* along) const;
    // The reverse, for all axes.
    void restore(const Kernels& kernels, const float* along, int count, float* rows) const;
    // Floats of a row along the axes.
    int padded() const { return (dims() + kProductColumns - 1) / kProductColumns * kProductColumns; }

private:
    std::vector<float> scale_of_elements() const;
    // The elements as floats, which take four times the memory: only once they are needed, and for one direction.
    const std::vector<float>& forward() const;
    const std::vector<float>& backward() const;

    std::vector<int> table_dims_;
    std::vector<float> mean_, table_scales_;
    std::vector<int8_t> widths_;
    std::vector<float> steps_;      // [axis]
    std::vector<int8_t> elements_;  // [axis][element], in steps
    mutable std::once_flag forward_once_, backward_once_;
    mutable std::vector<float> forward_;   // [element][padded axis], divided by the element's scale
    mutable std::vector<float> backward_;  // [axis][padded element], times the element's scale
};

}  // namespace deltastore
