// Vector and product quantization: each part of a row becomes a byte, that of the nearest of 256 code words. Keys are taken as they come, turned.
#pragma once

#include <random>

#include "head_books.h"

namespace deltastore {

// Bytes of a book: "DSVB", u32 version, u8 kind, u8 size, u32 tables, {u32 key size, u32 value size} for each; then books for each table of its keys and of
// its values.
class VectorTraining final : public Training {
public:
    // Throws CodedError OPTION_INVALID.
    VectorTraining(const std::vector<HeadShape>& shapes, const CodecOptions& options, const Kernels& kernels);
    void add(const RowRuns& runs) override;
    int rows() const override { return samples_.empty() ? 0 : int(samples_.front().seen); }
    // Throws CodedError STATE_DAMAGED where a table has no rows.
    void write(Writer& writer) const override;

private:
    // Of all rows seen, each is in it as likely as any other (Vitter 1985, algorithm R).
    struct Sample {
        HeadCut cut;
        size_t most = 0, seen = 0;     // rows
        std::vector<uint16_t> halves;  // [row][dim] binary16
        void add(const std::vector<float>& rows, std::mt19937& random);
    };

    std::vector<HeadShape> shapes_;
    CodecOptions options_;
    const Kernels& kernels_;
    std::vector<Sample> samples_;
    std::mt19937 random_;
};

class VectorCodec final : public RowCodec {
public:
    // Throws CodedError OPTION_INVALID, STATE_FOREIGN, STATE_MODEL_MISMATCH or STATE_DAMAGED.
    VectorCodec(const std::vector<HeadShape>& shapes, const CodecOptions& options, Reader& book, const Kernels& kernels);
    // Bytes, for each table of its keys, then of its values, for each run: bits [row] of rows that stay binary16, padded to bytes; each row as binary16, or
    // u8 codes [part].
    void encode(const RowRuns& runs, bool fine, Writer& writer) const override;
    void decode(RowRuns& runs, Reader& reader) const override;

private:
    void encode_rows(const HeadBooks& books, const std::vector<float>& rows, bool fine, Writer& writer) const;

    int tables_;
    float threshold_;
    const Kernels& kernels_;
    std::vector<HeadBooks> books_;
};

}  // namespace deltastore
