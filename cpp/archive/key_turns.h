// How a model turns keys by their positions (RoPE), as pairs of elements and angles: what turns them back without the model.
#pragma once

#include <cstdint>
#include <vector>

#include "byte_io.h"

namespace deltastore {

// Elements `first` and `second` of a key turn together, by `angle` radians a position.
struct TurnedPair {
    uint16_t first = 0, second = 0;
    float angle = 0;
};

// Bytes: u32 version, u32 sets, per set {u32 pairs, per pair {u16, u16, f32}}, u32 layers, per layer {u32 set}.
class KeyTurns {
public:
    KeyTurns() = default;
    // [layer][pair]
    explicit KeyTurns(const std::vector<std::vector<TurnedPair>>& layers);
    // key_dims: [layer]. Throws CodedError STATE_FOREIGN or STATE_DAMAGED.
    static KeyTurns read(const std::vector<int>& key_dims, Reader& reader);
    void write(Writer& writer) const;

    // Turns keys [row][dim] by `direction` times their positions. Without sets it does nothing. `angles`: of the last call, as heads' rows mostly have
    // the same positions.
    struct Angles {
        uint32_t set = UINT32_MAX;
        int direction = 0;
        std::vector<int32_t> positions;
        std::vector<float> cosines, sines;  // [row][pair]
    };
    void turn(int layer, int direction, const std::vector<int32_t>& positions, int dim, float* keys, Angles& angles) const;

private:
    void find(uint32_t set, int direction, const std::vector<int32_t>& positions, Angles& angles) const;

    std::vector<std::vector<TurnedPair>> sets_;
    std::vector<uint32_t> set_of_;  // [layer]
};

}  // namespace deltastore
