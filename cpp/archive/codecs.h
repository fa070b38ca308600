// Codecs and their trainings by name.
#pragma once

#include "row_codec.h"
#include "stored_parts.h"

namespace deltastore {

// Null for codecs that learn nothing. `turns`: bytes of KeyTurns, or no data. `head` must outlive it.
std::unique_ptr<Training> make_training(const CodecOptions& options, const StoredHead& head, ByteSpan turns);
// `book`: what its training wrote; no data for codecs that learn nothing. `head` must outlive it. Throws CodedError STATE_FOREIGN, STATE_MODEL_MISMATCH or
// STATE_DAMAGED.
std::unique_ptr<RowCodec> make_codec(const CodecOptions& options, const StoredHead& head, ByteSpan book);

}  // namespace deltastore
