// Numbers and bytes in and out of saved sequences. Little endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "failure.h"

namespace deltastore {

using WriteBytes = std::function<void(const void* bytes, size_t count)>;
// Throws when there are not enough bytes.
using ReadBytes = std::function<void(void* bytes, size_t count)>;

// 64-bit FNV-1a over 8-byte words (a last short one padded with zeros), with a final mix: every flipped bit changes it.
class Checksum {
public:
    void add(const void* bytes, size_t count) {
        const uint8_t* at = static_cast<const uint8_t*>(bytes);
        for (; count >= 8; at += 8, count -= 8) {
            uint64_t word;
            std::memcpy(&word, at, 8);
            step(word);
        }
        uint64_t rest = 0;
        std::memcpy(&rest, at, count);
        if (count > 0) step(rest);
    }
    uint64_t value() const { return hash_ ^ (hash_ >> 32); }

private:
    void step(uint64_t word) {
        hash_ = (hash_ ^ word) * 0x100000001b3ull;
        hash_ ^= hash_ >> 29;
    }
    uint64_t hash_ = 0xcbf29ce484222325ull;
};

class Writer {
public:
    explicit Writer(WriteBytes write) : write_(std::move(write)) {}
    void bytes(const void* source, size_t count) { write_(source, count); }
    const WriteBytes& sink() const { return write_; }
    template <typename T>
    void number(T value) {
        bytes(&value, sizeof value);
    }

private:
    WriteBytes write_;
};

// Throws CodedError STATE_DAMAGED.
class Reader {
public:
    explicit Reader(ReadBytes read) : read_(std::move(read)) {}
    void bytes(void* target, size_t count) {
        try {
            read_(target, count);
        } catch (const std::exception& error) {
            throw CodedError("STATE_DAMAGED", std::string("The state is cut short: ") + error.what());
        }
    }
    template <typename T>
    T number() {
        T value;
        bytes(&value, sizeof value);
        return value;
    }
    // A number that has to lie in [low, high].
    template <typename T>
    T number(T low, T high, const char* name) {
        const T value = number<T>();
        if (!(value >= low && value <= high))  // so that NaN is outside
            throw CodedError("STATE_DAMAGED", std::string("The state's ") + name + " is " + std::to_string(value) + ", outside " +
                                                  std::to_string(low) + " to " + std::to_string(high));
        return value;
    }

private:
    ReadBytes read_;
};

}  // namespace deltastore
