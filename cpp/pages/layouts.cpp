#include "layouts.h"

#include <algorithm>

namespace deltastore {

Layouts::Layouts(const Layers& layers) {
    for (int table = 0; table < layers.tables(); table++) {
        const HeadShape& shape = layers.shape(table);
        const auto found = std::find(shapes_.begin(), shapes_.end(), shape);
        shape_of_.push_back(int(found - shapes_.begin()));
        if (found == shapes_.end()) shapes_.push_back(shape);
    }
}

void Layouts::add(Format format, int rows, bool gapped, std::vector<size_t>& sizes) {
    std::unique_ptr<Set>& set = sets_[index(format, rows, gapped)];
    if (set != nullptr) return;
    auto added = std::make_unique<Set>();
    for (const HeadShape& shape : shapes_) {
        added->push_back(page_layout(format, shape, rows, gapped));
        sizes.push_back(added->back().bytes);
    }
    set = std::move(added);
}

}  // namespace deltastore
