// Principal axes of a unit's rows, and how far the rows reach along them.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "panels.h"
#include "units.h"

namespace deltastore {

// Rows along axes, one after the other. Most are 0 along most axes, and those are left out.
struct CodedRows {
    std::vector<uint32_t> ends;  // [row]
    std::vector<uint16_t> axes;  // ascending in a row
    std::vector<float> values;
    int count() const { return int(ends.size()); }
};

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
    float inverse_deviation(int axis) const { return inverse_deviations_[axis]; }
    // rows: [count][dims], which are changed; along: [count][padded], all 0 before; the first `axes` are set.
    void transform(const Kernels& kernels, float* rows, int count, int axes, float* along) const;
    // The reverse. rows: [count][padded]
    void restore(const Kernels& kernels, const CodedRows& coded, float* rows) const;
    // Floats of a row in panels of a product.
    int padded() const { return Panels::panels_for(dims()) * kPanelColumns; }

private:
    void invert_widths();
    std::vector<float> scale_of_elements() const;
    // The elements as floats, which take four times the memory: only once they are needed, and for one direction.
    const Panels& forward() const;
    const Panels& backward() const;

    std::vector<int> table_dims_;
    std::vector<float> mean_, table_scales_;
    std::vector<int8_t> widths_;
    std::vector<float> inverse_deviations_;  // [axis], as the widths have it
    std::vector<float> steps_;      // [axis]
    std::vector<int8_t> elements_;  // [axis][element], in steps
    mutable std::once_flag forward_once_, backward_once_;
    mutable Panels forward_;   // [element][axis], divided by the element's scale
    mutable Panels backward_;  // [axis][element], times the element's scale
};

}  // namespace deltastore
