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
    std::unique_ptr<PageLayout[]>& set = sets_[index(format, rows, gapped)];
    if (set != nullptr) return;
    auto added = std::make_unique<PageLayout[]>(shapes_.size());
    for (size_t shape = 0; shape < shapes_.size(); shape++) {
        added[shape] = page_layout(format, shapes_[shape], rows, gapped);
        sizes.push_back(added[shape].bytes);
    }
    set = std::move(added);
}

}  // namespace deltastore
