// A matrix as products take it: in panels of kPanelColumns columns, one after the other, each with all rows.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/kernels.h"

namespace deltastore {

class Panels {
public:
    Panels() = default;
    // All 0.
    Panels(int rows, int columns) : rows_(rows), panels_(size_t(rows) * panels_for(columns)) {}
    float& at(int row, int column) { return panels_[size_t(column / kPanelColumns) * rows_ + row].at[column % kPanelColumns]; }
    float at(int row, int column) const { return panel(column / kPanelColumns)[row].at[column % kPanelColumns]; }
    const PanelRow* panel(int index) const { return panels_.data() + size_t(index) * rows_; }
    // product += a times the first columns, for a: [rows][rows of this], and product, whose rows begin `stride` floats apart.
    void add_product(const Kernels& kernels, const float* a, int rows, int columns, float* product, int stride) const {
        for (int i = 0; i < panels_for(columns); i++) kernels.add_product(a, rows, rows_, panel(i), product + i * kPanelColumns, stride);
    }

    static int panels_for(int columns) { return (columns + kPanelColumns - 1) / kPanelColumns; }

private:
    int rows_ = 0;
    std::vector<PanelRow> panels_;
};

}  // namespace deltastore
