// The vectors that are taken from keys before they are packed. Softmax does not change when a constant is taken from every key, and
// codes are finer without it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "layers.h"

namespace deltastore {

inline constexpr uint8_t kNoCentre = 255;
inline constexpr int kCentreRows = 64;  // of a sequence, that a centre is the mean of, at least

// Numbered; pages name theirs by number. Vectors are added under the cache's lock, and not while a batch is computed, whose threads read them.
class Centres {
public:
    static constexpr int kMost = kNoCentre;

    explicit Centres(const Layers& layers);

    int count() const { return int(vectors_.size()); }
    // Of one vector, [table][key_dim].
    size_t floats() const { return floats_; }
    size_t bytes() const { return vectors_.size() * floats_ * sizeof(float); }
    // Where a table's part begins.
    size_t offset(int table) const { return offsets_[table]; }
    // [key_dim]; null for kNoCentre.
    const float* at(int number, int table) const { return number == kNoCentre ? nullptr : vectors_[number]->data() + offsets_[table]; }

    // That new pages are packed with; -1 until enough rows were seen.
    int own() const { return own_; }
    void set_own(int number) { own_ = number; }

    // The number of an equal vector; -1 if there is none.
    int find(const std::vector<float>& vector) const;
    // The number of a new vector. At the most it replaces one that is not in `used` [number]; -1 if all are.
    int add(const std::vector<float>& vector, std::vector<bool> used);
    // Gives up those from `count` on, which no page names.
    void drop(int count) { vectors_.resize(count); }

private:
    std::vector<size_t> offsets_;  // [table]
    size_t floats_ = 0;
    std::vector<std::unique_ptr<std::vector<float>>> vectors_;
    int own_ = -1;
};

}  // namespace deltastore
