#include "channel_codec.h"

#include <algorithm>

#include "bit_stream.h"
#include "half_rows.h"

namespace deltastore {

namespace {

constexpr int kHalfBits = 16;
constexpr uint16_t kMostHalf = 0x7bff;

// Numbers of a group lie `stride` apart.
struct Group {
    size_t first;
    int count, stride;
};

// Of [up to `most` rows][channel].
std::vector<Group> key_groups(const RowRun& run, int most) {
    const int dim = int(run.keys.size()) / run.rows();
    std::vector<Group> groups;
    for (int row = 0; row < run.rows(); row += most)
        for (int channel = 0; channel < dim; channel++) groups.push_back({size_t(row) * dim + channel, std::min(most, run.rows() - row), dim});
    return groups;
}

// Of [row][up to `most` values].
std::vector<Group> value_groups(const RowRun& run, int most) {
    const int dim = int(run.values.size()) / run.rows();
    std::vector<Group> groups;
    for (int row = 0; row < run.rows(); row++)
        for (int d = 0; d < dim; d += most) groups.push_back({size_t(row) * dim + d, std::min(most, dim - d), 1});
    return groups;
}

// The largest binary16 that is no larger.
uint16_t half_below(float value) {
    const uint16_t half = float_to_half(value);
    if (half_to_float(half) <= value || half == (0x8000 | kMostHalf)) return half;
    return half & 0x8000 ? half + 1 : half - 1;
}

// Of a number that is 0 or more.
uint16_t half_above(float value) {
    const uint16_t half = float_to_half(value);
    return half_to_float(half) < value && half < kMostHalf ? half + 1 : half;
}

void encode_group(const Group& group, const float* numbers, int bits, BitWriter& writer) {
    const auto number = [&](int i) { return numbers[group.first + size_t(i) * group.stride]; };
    float least = number(0), most = number(0);
    for (int i = 1; i < group.count; i++) {
        least = std::min(least, number(i));
        most = std::max(most, number(i));
    }
    // Rounded outwards, so that all numbers lie within half a step of one that can be told.
    const uint16_t base = half_below(least);
    const float from = half_to_float(base), last = float((1 << bits) - 1);
    const uint16_t step = half_above((most - from) / last);
    const float each = step == 0 ? 0.0f : 1 / half_to_float(step);
    writer.put(base, kHalfBits);
    writer.put(step, kHalfBits);
    for (int i = 0; i < group.count; i++) writer.put(uint32_t(std::clamp((number(i) - from) * each, 0.0f, last) + 0.5f), bits);
}

void decode_group(const Group& group, float* numbers, int bits, BitReader& reader) {
    const uint32_t base = reader.get(kHalfBits), step = reader.get(kHalfBits);
    if ((base & 0x7fff) > kMostHalf || step > kMostHalf) throw CodedError("STATE_DAMAGED", "A group of the state has no usable least number or step");
    const float from = half_to_float(uint16_t(base)), each = half_to_float(uint16_t(step));
    for (int i = 0; i < group.count; i++) numbers[group.first + size_t(i) * group.stride] = from + float(reader.get(bits)) * each;
}

void encode_groups(const std::vector<Group>& groups, const std::vector<float>& numbers, int bits, Writer& writer) {
    BitWriter coded;
    for (const Group& group : groups) encode_group(group, numbers.data(), bits, coded);
    coded.write(writer);
}

void decode_groups(const std::vector<Group>& groups, std::vector<float>& numbers, int bits, Reader& reader) {
    BitReader coded(groups.size() * 2 * kHalfBits + numbers.size() * bits, reader);
    for (const Group& group : groups) decode_group(group, numbers.data(), bits, coded);
}

}  // namespace

ChannelCodec::ChannelCodec(const CodecOptions& options) : options_(options) {
    for (const int bits : {options.key_bits, options.value_bits})
        if (bits < 1 || bits > 8) throw CodedError("OPTION_INVALID", "Codes have 1 to 8 bits, not " + std::to_string(bits));
    if (options.group < 1) throw CodedError("OPTION_INVALID", "A group has one number at least");
}

void ChannelCodec::encode(const RowRuns& runs, bool fine, Writer& writer) const {
    writer.number<uint8_t>(fine);
    for (const RowRun& run : runs) {
        if (fine) {
            write_halves(run.keys.data(), run.keys.size(), writer);
            write_halves(run.values.data(), run.values.size(), writer);
        } else {
            encode_groups(key_groups(run, options_.group), run.keys, options_.key_bits, writer);
            encode_groups(value_groups(run, options_.group), run.values, options_.value_bits, writer);
        }
    }
}

void ChannelCodec::decode(RowRuns& runs, Reader& reader) const {
    const bool fine = reader.number<uint8_t>(0, 1, "fineness") != 0;
    for (RowRun& run : runs) {
        if (fine) {
            read_halves(run.keys.data(), run.keys.size(), reader);
            read_halves(run.values.data(), run.values.size(), reader);
        } else {
            decode_groups(key_groups(run, options_.group), run.keys, options_.key_bits, reader);
            decode_groups(value_groups(run, options_.group), run.values, options_.value_bits, reader);
        }
    }
}

}  // namespace deltastore
