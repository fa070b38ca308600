// Numbers of any count of bits, one after the other, the low bits first; the last byte is padded.
#pragma once

#include <cstdint>
#include <vector>

#include "byte_io.h"

namespace deltastore {

// At most 31 bits a number.
class BitWriter {
public:
    void put(uint32_t value, int bits) {
        word_ |= uint64_t(value) << held_;
        for (held_ += bits; held_ >= 8; held_ -= 8, word_ >>= 8) bytes_.push_back(uint8_t(word_));
    }
    void write(Writer& writer) {
        if (held_ > 0) bytes_.push_back(uint8_t(word_));
        writer.bytes(bytes_.data(), bytes_.size());
    }

private:
    std::vector<uint8_t> bytes_;
    uint64_t word_ = 0;
    int held_ = 0;  // bits of the word
};

// Likewise.
class BitReader {
public:
    // bits: of all numbers that will be got. Throws CodedError STATE_DAMAGED.
    BitReader(size_t bits, Reader& reader) : bytes_((bits + 7) / 8) { reader.bytes(bytes_.data(), bytes_.size()); }
    uint32_t get(int bits) {
        for (; held_ < bits; held_ += 8) word_ |= uint64_t(bytes_[next_++]) << held_;
        const uint32_t value = uint32_t(word_) & ((1u << bits) - 1);
        word_ >>= bits;
        held_ -= bits;
        return value;
    }

private:
    std::vector<uint8_t> bytes_;
    size_t next_ = 0;
    uint64_t word_ = 0;
    int held_ = 0;  // bits of the word
};

}  // namespace deltastore
