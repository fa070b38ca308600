// Entropy coding with given frequencies: range asymmetric numeral systems (Duda 2013, arXiv 1311.2540), with words of 16 bits. Symbols are coded from the
// last to the first, and decoded from the first on. Two states take turns, so that a processor decodes two symbols at a time (Giesen 2014, arXiv 1402.3392).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "byte_io.h"

namespace deltastore {

inline constexpr int kFrequencyBits = 12;
inline constexpr uint32_t kFrequencies = 1u << kFrequencyBits;  // those of a table sum up to this

// How often the symbols 0, 1, 2, … come.
class FrequencyTable {
public:
    FrequencyTable() = default;
    // Sum up to kFrequencies, none is 0; 255 symbols at most.
    explicit FrequencyTable(const std::vector<uint16_t>& frequencies) {
        uint32_t start = 0;
        for (size_t symbol = 0; symbol < frequencies.size(); symbol++) {
            intervals_.push_back({uint16_t(start), frequencies[symbol]});
            for (uint32_t i = 0; i < frequencies[symbol]; i++) symbol_at_[start++] = uint8_t(symbol);
        }
    }
    struct Interval {
        uint16_t start, size;
    };
    int symbols() const { return int(intervals_.size()); }
    const Interval& of(int symbol) const { return intervals_[symbol]; }
    int symbol_at(uint32_t slot) const { return symbol_at_[slot]; }

private:
    std::vector<Interval> intervals_;
    std::array<uint8_t, kFrequencies> symbol_at_{};
};

// Collects symbols, and codes them in the end.
class RangeEncoder {
public:
    void put(const FrequencyTable& table, int symbol) { intervals_.push_back(table.of(symbol)); }
    // `bits` at most kFrequencyBits, all values equally frequent.
    void put_bits(uint32_t value, int bits) {
        const uint32_t size = kFrequencies >> bits;
        intervals_.push_back({uint16_t(value * size), uint16_t(size)});
    }
    // {u32 words, u16 each}
    void write(Writer& writer) const {
        std::vector<uint16_t> words;
        uint32_t states[2] = {kLeast, kLeast};  // of even and of odd symbols
        for (size_t i = intervals_.size(); i-- > 0;) {
            uint32_t& state = states[i % 2];
            const uint32_t size = intervals_[i].size;
            if (state >= (uint64_t(kLeast >> kFrequencyBits) << 16) * size) {
                words.push_back(uint16_t(state));
                state >>= 16;
            }
            state = ((state / size) << kFrequencyBits) + state % size + intervals_[i].start;
        }
        for (uint32_t state : {states[1], states[0]}) {
            words.push_back(uint16_t(state));
            words.push_back(uint16_t(state >> 16));
        }
        writer.number(uint32_t(words.size()));
        for (size_t i = words.size(); i-- > 0;) writer.number(words[i]);
    }
    static constexpr uint32_t kLeast = 1u << 16;

private:
    std::vector<FrequencyTable::Interval> intervals_;
};

// Gives some symbol for every state, so damaged words end in finish(), not elsewhere.
class RangeDecoder {
public:
    // `most`: words that there can be. Throws CodedError STATE_DAMAGED.
    RangeDecoder(uint64_t most, Reader& reader) : words_(reader.number<uint32_t>(4, uint32_t(std::min<uint64_t>(most, 1u << 24)), "number of coded words")) {
        reader.bytes(words_.data(), words_.size() * sizeof(uint16_t));
        state_ = uint32_t(words_[0]) << 16 | words_[1];
        other_ = uint32_t(words_[2]) << 16 | words_[3];
        words_.push_back(0);
    }
    int get(const FrequencyTable& table) {
        const uint32_t slot = state_ & (kFrequencies - 1);
        const int symbol = table.symbol_at(slot);
        advance(table.of(symbol), slot);
        return symbol;
    }
    uint32_t get_bits(int bits) {
        const uint32_t slot = state_ & (kFrequencies - 1), size = kFrequencies >> bits, value = slot / size;
        advance({uint16_t(value * size), uint16_t(size)}, slot);
        return value;
    }
    void finish() const {
        if (state_ != RangeEncoder::kLeast || other_ != RangeEncoder::kLeast || next_ != words_.size() - 1)
            throw CodedError("STATE_DAMAGED", "Coded rows of the state don't end where they should");
    }

private:
    void advance(FrequencyTable::Interval interval, uint32_t slot) {
        const uint32_t state = interval.size * (state_ >> kFrequencyBits) + slot - interval.start;
        const bool low = (state < RangeEncoder::kLeast) & (next_ + 1 < words_.size());
        state_ = other_;
        other_ = low ? state << 16 | words_[next_] : state;  // without a branch, as nobody can foresee it
        next_ += low;
    }
    std::vector<uint16_t> words_;  // and one that is not used
    size_t next_ = 4;
    uint32_t state_, other_;  // of the next symbol, and of the one after it
};

}  // namespace deltastore
