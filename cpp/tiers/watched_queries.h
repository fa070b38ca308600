// Whose attention a tier has watched.
#pragma once

#include <cstdint>

namespace deltastore {

// Which queries' softmax weights are added up, row by row. Sums are integers, so they do not depend on the order in which threads add.
enum class WatchedQueries : uint8_t {
    none,
    some,  // every fourth, which is enough to choose rows of an age
    all,   // with one in four, eviction that keeps two thirds of the rows adds twice the divergence
    last   // the last kLastQueries of each ubatch, which forgets the ubatches before
};

}  // namespace deltastore
