// A part of a snapshot whose rows a codec has.
//
//   "DSNZ", u32 version, u8 codec, u8 whether it is a tail, of a block {u64 origin}, {u8 tags of centres, u64 each}, per table {u32 pages, per page {u8
//   whether its head is that of the table before it, else its head; the rows that stay as they are; if there are others {u8 refined rows, u8 each; of a
//   gapped page {u8 gap of each row, u8 received of each}}}}, the codec's bytes, the rest of a tail.
#pragma once

#include "row_codec.h"
#include "stored_parts.h"

namespace deltastore {

inline constexpr uint32_t kFrozenVersion = 1;

// The parts' bytes, coded; as they were if that does not make them smaller, or if they are of a tail that has states of windows or recurrent layers in
// front. Throws CodedError as read_part().
std::vector<Bytes> freeze_parts(const StoredHead& head, const RowCodec& codec, CodecOptions::Kind kind, bool fine, const std::vector<ByteSpan>& parts);

// The reverse, as restore_snapshot() takes them. Throws CodedError STATE_FOREIGN or STATE_DAMAGED.
std::vector<Bytes> thaw_parts(const StoredHead& head, const RowCodec& codec, CodecOptions::Kind kind, const std::vector<ByteSpan>& parts);

}  // namespace deltastore
