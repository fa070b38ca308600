// What is kept of rows that nobody reads for long: codecs that take more time, and lose more, than packed pages do.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "byte_io.h"
#include "format/format.h"

namespace deltastore {

// Rows of one reference as floats: keys as the model made them (turned by their positions), with no rotation and nothing taken away.
struct RowRun {
    int table = 0;
    std::vector<int32_t> positions;  // [row], ascending
    std::vector<float> keys;         // [row][key_dim]
    std::vector<float> values;       // [row][stored_value_dim]
    int rows() const { return int(positions.size()); }
};

// The rows of a block or a tail, in the order of tables and of positions. Not every table need have some.
using RowRuns = std::vector<RowRun>;

// Which codec, as the options of `freeze` name it.
struct CodecOptions {
    enum class Kind : uint8_t { transform = 1, vector = 2, product = 3, channel = 4 };
    Kind kind = Kind::transform;
    float ratio = 0;      // transform: F16 bytes to coded bytes, of rows that are not fine
    uint8_t size = 0;     // vector: values that share a code word, 2, 4 or 8; product: parts of a head
    float threshold = 0;  // vector, product: relative squared error above which a head's row stays F16; 0: none does
    uint8_t key_bits = 0, value_bits = 0;  // channel
    uint16_t group = 0;                    // channel: rows (of keys) or values (of a row) that share a scale and an offset
};

// Turns rows to bytes and back. The same rows, options and book give the same bytes in one build, on processors of one kind. Both are called from any
// thread.
class RowCodec {
public:
    virtual ~RowCodec() = default;
    // `fine`: the newest rows, which are read most.
    virtual void encode(const RowRuns& runs, bool fine, Writer& writer) const = 0;
    // Fills in keys and values. Tables and positions are set, and have the sizes that they had. Throws CodedError STATE_DAMAGED.
    virtual void decode(RowRuns& runs, Reader& reader) const = 0;
    // The same for many parts, each with its own bytes, which some codecs do sooner at once.
    virtual void encode_all(const std::vector<RowRuns>& parts, bool fine, std::vector<Writer>& writers) const {
        for (size_t part = 0; part < parts.size(); part++) encode(parts[part], fine, writers[part]);
    }
    virtual void decode_all(std::vector<RowRuns>& parts, std::vector<Reader>& readers) const {
        for (size_t part = 0; part < parts.size(); part++) decode(parts[part], readers[part]);
    }
};

// Learns from rows what a codec has to know of a model: its book. Written and read as bytes.
class Training {
public:
    virtual ~Training() = default;
    virtual void add(const RowRuns& runs) = 0;
    // Rows of a table so far.
    virtual int rows() const = 0;
    virtual void write(Writer& writer) const = 0;
};

}  // namespace deltastore
