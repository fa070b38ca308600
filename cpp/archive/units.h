// Which heads' rows are transformed together.
#pragma once

#include <utility>
#include <vector>

#include "row_codec.h"

namespace deltastore {

// Elements of a unit at most, unless one head has more. Rows of one token are alike over heads and layers: six layers together take a third fewer
// bits (docs/findings.md). Books and the time for a row grow with the square.
inline constexpr int kMostUnitDims = 1152;

// Keys or values of consecutive tables.
struct Unit {
    bool keys = true;
    int first = 0, count = 0;  // tables
    int dims = 0;
};

inline int dims_of(const HeadShape& shape, bool keys) { return keys ? shape.key_dim : shape.stored_value_dim(); }

// Of all tables' keys, then of their values. Tables without values are in no unit of values.
std::vector<Unit> units_of(const std::vector<HeadShape>& shapes);
// A table's own unit.
inline Unit single_unit(const Unit& unit, int table, const HeadShape& shape) { return {unit.keys, table, 1, dims_of(shape, unit.keys)}; }

// Runs by their tables.
template <typename Run>
class RunsByTable {
public:
    template <typename Runs>
    RunsByTable(Runs& runs, int tables) : runs_(tables) {
        for (auto& run : runs) runs_[run.table].push_back(&run);
    }
    const std::vector<Run*>& of(int table) const { return runs_[table]; }
    int rows(int table) const {
        int rows = 0;
        for (const Run* run : runs_[table]) rows += run->rows();
        return rows;
    }
    // Whether all tables of a unit have rows of the same tokens.
    bool is_even(const Unit& unit) const {
        const auto& first = runs_[unit.first];
        for (int table = unit.first + 1; table < unit.first + unit.count; table++) {
            if (runs_[table].size() != first.size()) return false;
            for (size_t i = 0; i < first.size(); i++)
                if (runs_[table][i]->positions != first[i]->positions) return false;
        }
        return true;
    }
    // Calls move(element of a run, element of the matrix, count) for all rows of an even unit. The matrix' rows begin `stride` floats apart.
    template <typename Move>
    void for_rows(const Unit& unit, float* matrix, int stride, Move move) const {
        int offset = 0;
        for (int table = unit.first; table < unit.first + unit.count; table++) {
            int row = 0, dim = 0;
            for (Run* run : runs_[table]) {
                auto& elements = unit.keys ? run->keys : run->values;
                dim = int(elements.size()) / run->rows();
                for (int r = 0; r < run->rows(); r++, row++) move(elements.data() + size_t(r) * dim, matrix + size_t(row) * stride + offset, dim);
            }
            offset += dim;
        }
    }

private:
    std::vector<std::vector<Run*>> runs_;  // [table]
};

}  // namespace deltastore
