// Numbers as binary16 in a stream.
#pragma once

#include <vector>

#include "byte_io.h"
#include "format/half.h"

namespace deltastore {

inline float rounded_to_half(float value) { return half_to_float(float_to_half(value)); }

inline void write_halves(const float* values, size_t count, Writer& writer) {
    std::vector<uint16_t> halves(count);
    for (size_t i = 0; i < count; i++) halves[i] = float_to_half(values[i]);
    writer.bytes(halves.data(), count * sizeof(uint16_t));
}

// Throws CodedError STATE_DAMAGED where one is not finite.
inline void read_halves(float* values, size_t count, Reader& reader) {
    std::vector<uint16_t> halves(count);
    reader.bytes(halves.data(), count * sizeof(uint16_t));
    for (size_t i = 0; i < count; i++) {
        if ((halves[i] & 0x7c00) == 0x7c00) throw CodedError("STATE_DAMAGED", "A number of the state is not finite");
        values[i] = half_to_float(halves[i]);
    }
}

}  // namespace deltastore
