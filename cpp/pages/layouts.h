// The layouts of a context's pages: of the formats that its tiers use, and of those that a restored state brings.
#pragma once

#include <array>
#include <cassert>
#include <memory>
#include <vector>

#include "format/format.h"
#include "layers.h"

namespace deltastore {

class Layouts {
public:
    explicit Layouts(const Layers& layers);

    // Lays pages of that format and size out for all tables, unless that was done. Other threads may read other layouts meanwhile.
    // New page sizes in bytes are appended to `sizes`.
    void add(Format format, int rows, bool gapped, std::vector<size_t>& sizes);
    // Of a format and size that were added.
    const PageLayout& of(int table, Format format, int rows, bool gapped) const {
        const auto& set = sets_[index(format, rows, gapped)];
        assert(set != nullptr);
        return set[shape_of_[table]];
    }

private:
    static constexpr int kKinds = kPageRows + 1;  // of a format: pages without gaps by their rows, and pages with gaps
    static int index(Format format, int rows, bool gapped) { return int(format) * kKinds + (gapped ? 0 : rows); }

    std::vector<HeadShape> shapes_;  // distinct ones
    std::vector<int> shape_of_;      // [table]
    std::array<std::unique_ptr<PageLayout[]>, kFormatCount * kKinds> sets_;  // [distinct shape]
};

}  // namespace deltastore
