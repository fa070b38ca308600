#include "centres.h"

#include <algorithm>

namespace deltastore {

Centres::Centres(const Layers& layers) {
    for (int table = 0; table < layers.tables(); table++) {
        offsets_.push_back(floats_);
        floats_ += layers.shape(table).key_dim;
    }
}

int Centres::find(const std::vector<float>& vector) const {
    for (size_t i = 0; i < vectors_.size(); i++)
        if (*vectors_[i] == vector) return int(i);
    return -1;
}

int Centres::add(const std::vector<float>& vector, std::vector<bool> used) {
    auto added = std::make_unique<std::vector<float>>(vector);
    if (count() < kMost) {
        vectors_.push_back(std::move(added));
        return count() - 1;
    }
    used.resize(kMost);
    if (own_ >= 0) used[own_] = true;
    const auto free = std::find(used.begin(), used.end(), false);
    if (free == used.end()) return -1;
    vectors_[free - used.begin()] = std::move(added);
    return int(free - used.begin());
}

}  // namespace deltastore
