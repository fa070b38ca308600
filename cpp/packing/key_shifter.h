// Turns keys that a shift of positions left behind.
#pragma once

#include <functional>

#include "pages/centres.h"
#include "pages/sequence_table.h"

namespace deltastore {

// Turns decoded keys [rows][key_dim] by `delta` positions.
using TurnRows = std::function<void(int layer, float* keys, int rows, int32_t delta)>;

class KeyShifter {
public:
    KeyShifter(const Layers& layers, bool rotated, SequenceTable& sequences, const Centres& centres)
        : layers_(layers), rotated_(rotated), sequences_(sequences), centres_(centres) {}

    // Under the cache's lock: makes every key of a sequence follow the shifts so far. Keys that others read are turned in a copy.
    Failure follow(int sequence, const TurnRows& turn);

private:
    const Layers& layers_;
    const bool rotated_;
    SequenceTable& sequences_;
    const Centres& centres_;
};

}  // namespace deltastore
