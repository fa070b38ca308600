// Learns a transform book from rows.
#pragma once

#include "transform_book.h"

namespace deltastore {

class TransformTraining final : public Training {
public:
    // `turns`: bytes of KeyTurns; none if it is not known how the model turns keys. `head` must outlive it. Throws CodedError as KeyTurns::read.
    TransformTraining(const StoredHead& head, ByteSpan turns, const Kernels& kernels);
    void add(const RowRuns& runs) override;
    int rows() const override { return rows_; }
    void write(Writer& writer) const override;

private:
    // Of keys or values of consecutive tables, less `pivot`: the mean of the first rows, so that floats hold the sums.
    struct Sums {
        Unit unit;
        int rows = 0;
        std::vector<float> pivot, sums;  // [element]
        std::vector<float> products;     // [element][padded element]
        void add(const Kernels& kernels, const std::vector<float>& matrix, int count);
        std::vector<float> mean() const;
        double covariance(int i, int j) const;
    };
    static void add_all(const Kernels& kernels, const RunsByTable<RowRun>& tables, Sums& sums);
    UnitAxes axes_of(size_t unit) const;

    const StoredHead& head_;
    const Kernels& kernels_;
    KeyTurns turns_;
    std::vector<Sums> joint_;
    std::vector<std::vector<Sums>> single_;  // [unit][table]
    int rows_ = 0;
};

// Keys as they are before the model turns them by their positions.
RowRuns turned_back(const StoredHead& head, const KeyTurns& turns, const RowRuns& runs);

}  // namespace deltastore
