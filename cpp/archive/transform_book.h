// What the transform codec knows of a model.
#pragma once

#include <array>
#include <memory>

#include "axes.h"
#include "gaussian_tables.h"
#include "key_turns.h"
#include "stored_parts.h"

namespace deltastore {

// Rows are larger or smaller as a whole: by 2^(level / 4), where level + kLevelOffset is a symbol.
inline constexpr int kLevels = 16, kLevelOffset = 8;

// Axes of a unit, and of each of its tables by itself, for rows that not all of its tables have.
struct UnitAxes {
    Unit unit;
    std::vector<int> dims;  // [table]
    std::unique_ptr<const Axes> joint;
    std::vector<std::unique_ptr<const Axes>> single;  // [table]; none where the unit has one table
};

// Bytes: "DSTB", u32 version, u32 bytes and as many that say what the rows were made with (StoredHead::made_with), key turns, frequencies of widths and of
// levels, axes of each unit: of all its tables, then of each.
struct TransformBook {
    KeyTurns turns;
    GaussianTables widths;
    std::vector<uint16_t> level_frequencies;
    FrequencyTable levels;
    std::vector<UnitAxes> units;

    void write(const StoredHead& head, Writer& writer) const;
    // Throws CodedError STATE_FOREIGN, STATE_MODEL_MISMATCH or STATE_DAMAGED.
    static TransformBook read(const StoredHead& head, Reader& reader);
};

std::vector<int> key_dims_of_layers(const StoredHead& head);

}  // namespace deltastore
