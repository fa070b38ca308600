#include "key_turns.h"

#include <algorithm>
#include <cmath>

namespace deltastore {

static constexpr uint32_t kVersion = 1;

static bool same(const std::vector<TurnedPair>& a, const std::vector<TurnedPair>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const TurnedPair& one, const TurnedPair& other) {
        return one.first == other.first && one.second == other.second && one.angle == other.angle;
    });
}

KeyTurns::KeyTurns(const std::vector<std::vector<TurnedPair>>& layers) {
    for (const auto& pairs : layers) {
        const auto found = std::find_if(sets_.begin(), sets_.end(), [&](const auto& set) { return same(set, pairs); });
        set_of_.push_back(uint32_t(found - sets_.begin()));
        if (found == sets_.end()) sets_.push_back(pairs);
    }
}

void KeyTurns::write(Writer& writer) const {
    writer.number(kVersion);
    writer.number(uint32_t(sets_.size()));
    for (const auto& set : sets_) {
        writer.number(uint32_t(set.size()));
        for (const TurnedPair& pair : set) {
            writer.number(pair.first);
            writer.number(pair.second);
            writer.number(pair.angle);
        }
    }
    writer.number(uint32_t(set_of_.size()));
    for (uint32_t set : set_of_) writer.number(set);
}

KeyTurns KeyTurns::read(const std::vector<int>& key_dims, Reader& reader) {
    KeyTurns turns;
    const uint32_t version = reader.number<uint32_t>(), layers = uint32_t(key_dims.size());
    if (version != kVersion) throw CodedError("STATE_FOREIGN", "The turns of keys have version " + std::to_string(version));
    const int most = layers == 0 ? 0 : *std::max_element(key_dims.begin(), key_dims.end());
    turns.sets_.resize(reader.number<uint32_t>(0, layers, "number of turns"));
    for (auto& set : turns.sets_) {
        set.resize(reader.number<uint32_t>(0, uint32_t(most / 2), "number of pairs"));
        for (TurnedPair& pair : set) {
            pair.first = reader.number<uint16_t>();
            pair.second = reader.number<uint16_t>();
            pair.angle = reader.number<float>(-4, 4, "angle");
        }
    }
    const uint32_t count = reader.number<uint32_t>();
    if (count != layers && count != 0) throw CodedError("STATE_DAMAGED", "The turns of keys are of another number of layers");
    if (count > 0 && turns.sets_.empty()) throw CodedError("STATE_DAMAGED", "The turns of keys have no set");
    for (uint32_t layer = 0; layer < count; layer++) {
        turns.set_of_.push_back(reader.number<uint32_t>(0, uint32_t(turns.sets_.size()) - 1, "turn of a layer"));
        for (const TurnedPair& pair : turns.sets_[turns.set_of_.back()])
            if (pair.first >= key_dims[layer] || pair.second >= key_dims[layer]) throw CodedError("STATE_DAMAGED", "The turns of keys go beyond a key");
    }
    return turns;
}

void KeyTurns::find(uint32_t set, int direction, const std::vector<int32_t>& positions, Angles& angles) const {
    if (angles.set == set && angles.direction == direction && angles.positions == positions) return;
    angles = {set, direction, positions, {}, {}};
    for (int32_t position : positions)
        for (const TurnedPair& pair : sets_[set]) {
            const double angle = double(pair.angle) * position * direction;  // in double, as positions go far
            angles.cosines.push_back(float(std::cos(angle)));
            angles.sines.push_back(float(std::sin(angle)));
        }
}

void KeyTurns::turn(int layer, int direction, const std::vector<int32_t>& positions, int dim, float* keys, Angles& angles) const {
    if (set_of_.empty()) return;
    const auto& set = sets_[set_of_[layer]];
    find(set_of_[layer], direction, positions, angles);
    const float *cosine = angles.cosines.data(), *sine = angles.sines.data();
    for (size_t row = 0; row < positions.size(); row++, keys += dim)
        for (const TurnedPair& pair : set) {
            const float c = *cosine++, s = *sine++, x = keys[pair.first], y = keys[pair.second];
            keys[pair.first] = x * c - y * s;
            keys[pair.second] = x * s + y * c;
        }
}

}  // namespace deltastore
