// Keys without their turns and values, along principal axes of several layers, rounded, and coded by how far rows reach along each axis. After KVTC (Staniszewski
// & Łańcucki 2025, arXiv 2511.01815), but for three things: one step for all axes of an entropy coder takes the place of bits for each; a row's own size is
// told first; and nothing shrinks what was rounded, as such errors of many rows add up.
#pragma once

#include "transform_book.h"

namespace deltastore {

class TransformCodec final : public RowCodec {
public:
    // `head` must outlive it. Throws CodedError as TransformBook::read.
    TransformCodec(const StoredHead& head, const CodecOptions& options, Reader& book, const Kernels& kernels);
    // Bytes: i16 step of keys, in 1 / kOctave octaves, and for each unit {u8 whether its tables have rows of the same tokens, coded rows}, the latter for
    // each table where they don't.
    void encode(const RowRuns& runs, bool fine, Writer& writer) const override;
    void decode(RowRuns& runs, Reader& reader) const override;
    void encode_all(const std::vector<RowRuns>& parts, bool fine, std::vector<Writer>& writers) const override;
    void decode_all(std::vector<RowRuns>& parts, std::vector<Reader>& readers) const override;

private:
    int step_for(float ratio) const;
    // along: [count][padded axis]
    void put_rows(const Axes& axes, int step, const float* along, int count, Writer& writer) const;
    void get_rows(const Axes& axes, int step, int count, Reader& reader, CodedRows& coded) const;

    const StoredHead& head_;
    const Kernels& kernels_;
    TransformBook book_;
    int step_ = 0;
};

}  // namespace deltastore
