#include "gaussian_tables.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace deltastore {

static constexpr int kClasses = kMostClass - kLeastClass + 1;
static constexpr int kMostSymbols = 128;
static constexpr int kOutsideBits = 10;  // of two halves of a value that no symbol stands for

// Low bits of values that are wider than any class.
static int low_bits(int width) {
    return width <= kMostClass ? 0 : (width - kMostClass + kOctave - 1) / kOctave;
}

std::vector<uint16_t> frequencies_of(const std::vector<double>& shares) {
    const double sum = std::accumulate(shares.begin(), shares.end(), 0.0), left = double(kFrequencies) - double(shares.size());
    std::vector<uint16_t> frequencies;
    for (double share : shares) frequencies.push_back(uint16_t(1 + std::floor(share / sum * left)));
    const int total = std::accumulate(frequencies.begin(), frequencies.end(), 0);
    *std::max_element(frequencies.begin(), frequencies.end()) += uint16_t(int(kFrequencies) - total);
    return frequencies;
}

std::vector<uint16_t> read_frequencies(Reader& reader) {
    std::vector<uint16_t> frequencies(reader.number<uint8_t>(1, kMostSymbols, "number of symbols"));
    uint32_t sum = 0;
    for (uint16_t& frequency : frequencies) sum += frequency = reader.number<uint16_t>(1, kFrequencies - 1, "frequency");
    if (sum != kFrequencies) throw CodedError("STATE_DAMAGED", "Frequencies of the state have another sum");
    return frequencies;
}

void write_frequencies(const std::vector<uint16_t>& frequencies, Writer& writer) {
    writer.number(uint8_t(frequencies.size()));
    for (uint16_t frequency : frequencies) writer.number(frequency);
}

GaussianTables GaussianTables::computed() {
    GaussianTables tables;
    for (int width = kLeastClass; width <= kMostClass; width++) {
        const double deviation = std::exp2(double(width) / kOctave);
        const int most = int(std::ceil(4 * deviation));
        const auto below = [&](double x) { return 0.5 * std::erfc(-x / deviation * std::sqrt(0.5)); };
        std::vector<double> shares;
        for (int value = -most; value <= most; value++) shares.push_back(below(value + 0.5) - below(value - 0.5));
        shares.push_back(2 * below(-most - 0.5));
        tables.frequencies_.push_back(frequencies_of(shares));
        tables.tables_.emplace_back(tables.frequencies_.back());
    }
    return tables;
}

GaussianTables::GaussianTables(Reader& reader) {
    for (int i = 0; i < kClasses; i++) {
        frequencies_.push_back(read_frequencies(reader));
        if (frequencies_.back().size() % 2 != 0) throw CodedError("STATE_DAMAGED", "Frequencies of the state are of another number of symbols");
        tables_.emplace_back(frequencies_.back());
    }
}

void GaussianTables::write(Writer& writer) const {
    for (const auto& frequencies : frequencies_) write_frequencies(frequencies, writer);
}

void GaussianTables::put(RangeEncoder& encoder, int width, int32_t value) const {
    value = std::clamp(value, -kMostValue, kMostValue);
    const int low = low_bits(width);
    const FrequencyTable& symbols = table(width - low * kOctave);
    const int outside = symbols.symbols() - 1, most = (outside - 1) / 2;
    const int32_t high = value >> low;
    if (high >= -most && high <= most) {
        encoder.put(symbols, high + most);
        if (low > 0) encoder.put_bits(uint32_t(value) & ((1u << low) - 1), low);
        return;
    }
    encoder.put(symbols, outside);
    const uint32_t magnitude = uint32_t(std::abs(value));
    encoder.put_bits(value < 0, 1);
    encoder.put_bits(magnitude >> kOutsideBits, kOutsideBits);
    encoder.put_bits(magnitude & ((1u << kOutsideBits) - 1), kOutsideBits);
}

int32_t GaussianTables::get(RangeDecoder& decoder, int width) const {
    const int low = low_bits(width);
    const FrequencyTable& symbols = table(width - low * kOctave);
    const int outside = symbols.symbols() - 1, most = (outside - 1) / 2, symbol = decoder.get(symbols);
    if (symbol < outside) {
        const int32_t high = symbol - most;
        return low == 0 ? high : high * (1 << low) + int32_t(decoder.get_bits(low));
    }
    const bool negative = decoder.get_bits(1) != 0;
    const uint32_t upper = decoder.get_bits(kOutsideBits), magnitude = upper << kOutsideBits | decoder.get_bits(kOutsideBits);
    return negative ? -int32_t(magnitude) : int32_t(magnitude);
}

double GaussianTables::bits(int width) const {
    if (width < kLeastClass) return 0;
    const int low = low_bits(width);
    double bits = low;
    for (uint16_t frequency : frequencies_[width - low * kOctave - kLeastClass]) bits += frequency * std::log2(double(kFrequencies) / frequency) / kFrequencies;
    return bits;
}

}  // namespace deltastore
