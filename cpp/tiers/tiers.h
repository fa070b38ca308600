// The tiers of a cache, and which one each sequence has.
#pragma once

#include <string>
#include <vector>

#include "options.h"

namespace deltastore {

class Tiers {
public:
    // `options` must outlive it. Every sequence has the options' own tier.
    Tiers(const CacheOptions& options, int sequences) : of_(sequences) {
        all_.push_back(&options);
        for (const Tier& other : options.others) all_.push_back(&other);
    }

    int count() const { return int(all_.size()); }
    const Tier& at(int index) const { return *all_[index]; }
    // Of the tier of that name; -1 if there is none.
    int index(const std::string& name) const {
        for (size_t i = 0; i < all_.size(); i++)
            if (all_[i]->name == name) return int(i);
        return -1;
    }

    const Tier& of(int sequence) const { return *all_[of_[sequence]]; }
    int index_of(int sequence) const { return of_[sequence]; }
    void assign(int sequence, int index) { of_[sequence] = index; }

private:
    std::vector<const Tier*> all_;  // the options' own, then the others
    std::vector<int> of_;           // [sequence]
};

}  // namespace deltastore
