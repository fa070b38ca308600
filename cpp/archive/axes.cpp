#include "axes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "eigenvectors.h"
#include "gaussian_tables.h"

namespace deltastore {

static constexpr int kMostElement = 127;

// Of a panel of as many axes, 24 KiB lie in the processor's nearest cache while all rows go by.
static constexpr int kAxesAtOnce = 96;

Axes::Axes(const std::vector<double>& covariance, const std::vector<float>& mean, const std::vector<float>& scales, const std::vector<int>& dims)
    : table_dims_(dims), mean_(mean), table_scales_(scales) {
    const int size = int(mean.size());
    std::vector<double> scaled(covariance);
    const std::vector<float> of_element = scale_of_elements();
    for (int i = 0; i < size; i++)
        for (int j = 0; j < size; j++) scaled[size_t(i) * size + j] /= double(of_element[i]) * of_element[j];
    const Eigenvectors found = eigenvectors(std::move(scaled), size);
    for (int axis = 0; axis < size; axis++) {
        const double deviation = std::sqrt(std::max(found.values[axis], 1e-9));
        widths_.push_back(int8_t(std::clamp<long>(std::lround(kOctave * std::log2(deviation)), INT8_MIN, INT8_MAX)));
        const double* vector = &found.vectors[size_t(axis) * size];
        double most = 0;
        for (int i = 0; i < size; i++) most = std::max(most, std::abs(vector[i]));
        steps_.push_back(float(most / kMostElement));
        for (int i = 0; i < size; i++) elements_.push_back(int8_t(std::lround(vector[i] / most * kMostElement)));
    }
    invert_widths();
}

Axes::Axes(const std::vector<int>& dims, Reader& reader) : table_dims_(dims), table_scales_(dims.size()) {
    const int size = std::accumulate(dims.begin(), dims.end(), 0);
    const auto finite = [&](std::vector<float>& values, float least, const char* name) {
        for (float& value : values) {
            value = reader.number<float>();
            if (!(value >= least && value <= 65504.0f)) throw CodedError("STATE_DAMAGED", std::string("A book's ") + name + " is not a usable number");
        }
    };
    mean_.resize(size);
    finite(mean_, -65504.0f, "mean");
    finite(table_scales_, 1e-9f, "scale");
    widths_.resize(size);
    reader.bytes(widths_.data(), widths_.size());
    if (!std::is_sorted(widths_.begin(), widths_.end(), std::greater<>())) throw CodedError("STATE_DAMAGED", "A book's axes are not in order");
    steps_.resize(size);
    finite(steps_, 0, "step");
    elements_.resize(size_t(size) * size);
    reader.bytes(elements_.data(), elements_.size());
    invert_widths();
}

void Axes::invert_widths() {
    for (int8_t width : widths_) inverse_deviations_.push_back(std::exp2(-float(width) / kOctave));
}

void Axes::write(Writer& writer) const {
    for (float value : mean_) writer.number(value);
    for (float value : table_scales_) writer.number(value);
    writer.bytes(widths_.data(), widths_.size());
    for (float value : steps_) writer.number(value);
    writer.bytes(elements_.data(), elements_.size());
}

std::vector<float> Axes::scale_of_elements() const {
    std::vector<float> scales;
    for (size_t t = 0; t < table_dims_.size(); t++) scales.insert(scales.end(), table_dims_[t], table_scales_[t]);
    return scales;
}

const Panels& Axes::forward() const {
    std::call_once(forward_once_, [&] {
        const std::vector<float> scales = scale_of_elements();
        forward_ = Panels(dims(), dims());
        for (int axis = 0; axis < dims(); axis++)
            for (int i = 0; i < dims(); i++) forward_.at(i, axis) = elements_[size_t(axis) * dims() + i] * steps_[axis] / scales[i];
    });
    return forward_;
}

const Panels& Axes::backward() const {
    std::call_once(backward_once_, [&] {
        const std::vector<float> scales = scale_of_elements();
        backward_ = Panels(dims(), dims());
        for (int axis = 0; axis < dims(); axis++)
            for (int i = 0; i < dims(); i++) backward_.at(axis, i) = elements_[size_t(axis) * dims() + i] * steps_[axis] * scales[i];
    });
    return backward_;
}

void Axes::transform(const Kernels& kernels, float* rows, int count, int axes, float* along) const {
    for (int r = 0; r < count; r++)
        for (int i = 0; i < dims(); i++) rows[size_t(r) * dims() + i] -= mean_[i];
    forward().add_product(kernels, rows, count, axes, along, padded());
}

void Axes::restore(const Kernels& kernels, const CodedRows& coded, float* rows) const {
    for (int r = 0; r < coded.count(); r++) std::copy_n(mean_.data(), dims(), rows + size_t(r) * padded());
    std::vector<uint32_t> begins(1, 0), ends;
    begins.insert(begins.end(), coded.ends.begin(), coded.ends.end());
    begins.pop_back();
    for (int first = 0; first < dims(); first += kAxesAtOnce) {
        ends = begins;
        for (int r = 0; r < coded.count(); r++)
            while (ends[r] < coded.ends[r] && coded.axes[ends[r]] < first + kAxesAtOnce) ends[r]++;
        const SparseRows some{coded.count(), begins.data(), ends.data(), coded.axes.data(), coded.values.data()};
        for (int i = 0; i < Panels::panels_for(dims()); i++) kernels.add_sparse_product(some, backward().panel(i), rows + i * kPanelColumns, padded());
        begins.swap(ends);
    }
}

}  // namespace deltastore
