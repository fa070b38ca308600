// Frequencies of rounded Gaussian values, for each of many widths.
#pragma once

#include <vector>

#include "range_coder.h"

namespace deltastore {

// A width class c stands for a standard deviation of 2^(c / kOctave) steps.
inline constexpr int kOctave = 8;
// Narrower values are all rounded to 0, and not coded: one in 1,000 would not be 0.
inline constexpr int kLeastClass = -22;
// Wider values are cut into a part of this class or the octave below it, and low bits, which are coded as they are.
inline constexpr int kMostClass = 24;
// There is none wider: as many low bits are coded at once.
inline constexpr int kWidest = kMostClass + kFrequencyBits * kOctave;

// The same on every machine: they are part of a book, and are not computed where it is read.
class GaussianTables {
public:
    GaussianTables() = default;  // of no width
    static GaussianTables computed();
    // Throws CodedError STATE_DAMAGED.
    explicit GaussianTables(Reader& reader);
    void write(Writer& writer) const;

    // `width`: kLeastClass to kWidest. |value| is cut to kMostValue.
    void put(RangeEncoder& encoder, int width, int32_t value) const;
    int32_t get(RangeDecoder& decoder, int width) const;
    // Mean bits of a value of that width; 0 below kLeastClass. `width`: kWidest at most.
    double bits(int width) const;

    static constexpr int32_t kMostValue = (1 << 20) - 1;

private:
    const FrequencyTable& table(int width) const { return tables_[width - kLeastClass]; }
    std::vector<std::vector<uint16_t>> frequencies_;  // [class]: of -most … most, and of what lies outside
    std::vector<FrequencyTable> tables_;
};

// Integers near the given shares of kFrequencies, none 0.
std::vector<uint16_t> frequencies_of(const std::vector<double>& shares);

std::vector<uint16_t> read_frequencies(Reader& reader);
void write_frequencies(const std::vector<uint16_t>& frequencies, Writer& writer);

}  // namespace deltastore
