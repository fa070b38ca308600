#include "transform_training.h"

#include <cmath>

namespace deltastore {

// Of the levels' shares, in levels: two thirds of the rows are within a factor of 1.3 of the usual.
static constexpr double kLevelDeviation = 1.5;

// How much of what tables have in common is taken for chance, at as many rows as elements.
static constexpr double kChance = 0.15;

RowRuns turned_back(const StoredHead& head, const KeyTurns& turns, const RowRuns& runs) {
    RowRuns turned = runs;
    KeyTurns::Angles angles;
    for (RowRun& run : turned) turns.turn(head.layer_of(run.table), -1, run.positions, head.shapes()[run.table].key_dim, run.keys.data(), angles);
    return turned;
}

TransformTraining::TransformTraining(const StoredHead& head, ByteSpan turns, const Kernels& kernels) : head_(head), kernels_(kernels) {
    if (turns.size > 0) {
        SpanReader span(turns);
        Reader reader = span.reader();
        turns_ = KeyTurns::read(key_dims_of_layers(head), reader);
        span.finish();
    }
    for (const Unit& unit : units_of(head.shapes())) {
        joint_.push_back({unit, 0, {}, {}, {}});
        single_.emplace_back();
        for (int table = unit.first; table < unit.first + unit.count; table++)
            single_.back().push_back({single_unit(unit, table, head.shapes()[table]), 0, {}, {}, {}});
    }
}

void TransformTraining::Sums::add(const Kernels& kernels, const std::vector<float>& matrix, int count) {
    const int dims = unit.dims, padded = Panels::panels_for(dims) * kPanelColumns;
    if (rows == 0) {
        pivot.assign(dims, 0);
        sums.assign(dims, 0);
        products.assign(size_t(dims) * padded, 0);
        for (int r = 0; r < count; r++)
            for (int i = 0; i < dims; i++) pivot[i] += matrix[size_t(r) * dims + i] / float(count);
    }
    std::vector<float> across(size_t(dims) * count);
    Panels along(count, dims);
    for (int r = 0; r < count; r++)
        for (int i = 0; i < dims; i++) {
            const float x = matrix[size_t(r) * dims + i] - pivot[i];
            sums[i] += x;
            across[size_t(i) * count + r] = along.at(r, i) = x;
        }
    along.add_product(kernels, across.data(), dims, dims, products.data(), padded);
    rows += count;
}

std::vector<float> TransformTraining::Sums::mean() const {
    std::vector<float> mean = pivot;
    for (int i = 0; i < unit.dims; i++) mean[i] += sums[i] / float(rows);
    return mean;
}

double TransformTraining::Sums::covariance(int i, int j) const {
    const size_t padded = products.size() / unit.dims;
    return (products[i * padded + j] - double(sums[i]) * sums[j] / rows) / rows;
}

void TransformTraining::add_all(const Kernels& kernels, const RunsByTable<RowRun>& tables, Sums& sums) {
    const int count = tables.rows(sums.unit.first);
    if (count == 0) return;
    std::vector<float> matrix(size_t(count) * sums.unit.dims);
    tables.for_rows(sums.unit, matrix.data(), sums.unit.dims, [](const float* from, float* to, int dims) { std::copy_n(from, dims, to); });
    sums.add(kernels, matrix, count);
}

void TransformTraining::add(const RowRuns& runs) {
    RowRuns turned = turned_back(head_, turns_, runs);
    const RunsByTable<RowRun> tables(turned, head_.tables());
    for (size_t u = 0; u < joint_.size(); u++) {
        if (tables.is_even(joint_[u].unit)) add_all(kernels_, tables, joint_[u]);
        for (Sums& single : single_[u]) add_all(kernels_, tables, single);
    }
    if (head_.tables() > 0) rows_ += tables.rows(0);
}

UnitAxes TransformTraining::axes_of(size_t u) const {
    const Sums& joint = joint_[u];
    const Unit& unit = joint.unit;
    const auto& singles = single_[u];
    UnitAxes axes{unit, {}, nullptr, {}};
    std::vector<double> covariance(size_t(unit.dims) * unit.dims);
    std::vector<float> mean, scales;
    // A layer's heads share a scale: how large a head's rows are tells how much they matter to the layer.
    const bool even = joint.rows >= 2 * unit.dims;
    const double kept = even ? 1 - kChance * unit.dims / joint.rows : 0;
    if (even)
        for (int i = 0; i < unit.dims; i++)
            for (int j = 0; j < unit.dims; j++) covariance[size_t(i) * unit.dims + j] = joint.covariance(i, j) * (i == j ? 1 : kept);
    int begin = 0;
    for (const Sums& single : singles) {
        const int dims = single.unit.dims;
        const std::vector<float> own = even ? std::vector<float>() : single.mean();
        if (!even)
            for (int i = 0; i < dims; i++)
                for (int j = 0; j < dims; j++) covariance[size_t(begin + i) * unit.dims + begin + j] = single.covariance(i, j);
        mean.insert(mean.end(), own.begin(), own.end());
        axes.dims.push_back(dims);
        begin += dims;
    }
    if (even) mean = joint.mean();
    for (size_t t = 0, first = 0, offset = 0; t < singles.size(); t++) {
        // [first, t] are tables of one layer.
        const int layer = head_.layer_of(unit.first + int(t));
        if (t + 1 < singles.size() && head_.layer_of(unit.first + int(t) + 1) == layer) continue;
        double variance = 0;
        size_t elements = 0;
        for (size_t s = first; s <= t; s++)
            for (int i = 0; i < axes.dims[s]; i++, elements++) variance += covariance[(offset + elements) * unit.dims + offset + elements];
        scales.insert(scales.end(), t + 1 - first, float(std::sqrt(std::max(variance / double(elements), 1e-12))));
        offset += elements;
        first = t + 1;
    }
    if (unit.count > 1)
        for (size_t t = 0; t < singles.size(); t++) {
            const Sums& single = singles[t];
            std::vector<double> own(size_t(single.unit.dims) * single.unit.dims);
            for (int i = 0; i < single.unit.dims; i++)
                for (int j = 0; j < single.unit.dims; j++) own[size_t(i) * single.unit.dims + j] = single.covariance(i, j);
            axes.single.push_back(std::make_unique<Axes>(own, single.mean(), std::vector<float>{scales[t]}, std::vector<int>{single.unit.dims}));
        }
    axes.joint = std::make_unique<Axes>(covariance, mean, scales, axes.dims);
    return axes;
}

void TransformTraining::write(Writer& writer) const {
    TransformBook book;
    book.turns = turns_;
    book.widths = GaussianTables::computed();
    std::vector<double> shares;
    for (int level = 0; level < kLevels; level++) {
        const double x = (level - kLevelOffset) / kLevelDeviation;
        shares.push_back(std::exp(-x * x / 2));
    }
    book.level_frequencies = frequencies_of(shares);
    for (size_t u = 0; u < joint_.size(); u++) {
        for (const Sums& single : single_[u])
            if (single.rows == 0) throw CodedError("STATE_DAMAGED", "A head has no rows to learn from");
        book.units.push_back(axes_of(u));
    }
    book.write(head_, writer);
}

}  // namespace deltastore
