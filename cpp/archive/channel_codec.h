// Asymmetric groups: keys by channels, as these differ most in size, and values by rows. After KIVI (Liu et al. 2024, arXiv 2402.02750).
#pragma once

#include "row_codec.h"

namespace deltastore {

class ChannelCodec final : public RowCodec {
public:
    // Throws CodedError OPTION_INVALID.
    explicit ChannelCodec(const CodecOptions& options);
    // Bytes: u8 whether the rows are fine; keys and then values of each run, as binary16 where they are, else as bits, from the low ones up, padded to bytes.
    // Of a group: 16 bits for its least number and 16 for a step, both binary16, and a code for each number.
    // Groups of keys are [up to `group` rows][channel], of values [row][up to `group` values].
    void encode(const RowRuns& runs, bool fine, Writer& writer) const override;
    void decode(RowRuns& runs, Reader& reader) const override;

private:
    CodecOptions options_;
};

}  // namespace deltastore
