// Page formats and their layout. A page holds up to `kPageRows` tokens of one layer and one KV head.
#pragma once

#include <cstddef>
#include <cstdint>

namespace deltastore {

inline constexpr int kPageRows = 64;
// Of exact pages whose rows will be packed: small, so that a window takes little more than its rows.
inline constexpr int kWindowPageRows = 16;
inline constexpr int kGroup = 64;  // elements that share a scale; the rotation mixes at least as many

enum class Format : uint8_t { f16 = 0, k4v4 = 1, k4v2 = 2, k3v2 = 3 };
inline constexpr int kFormatCount = 4;

enum class KeyCoding : uint8_t { none, lloyd4, lloyd3 };
enum class ValueCoding : uint8_t { none, lloyd4, trellis2 };

struct FormatInfo {
    const char* name;
    bool packed;
    KeyCoding keys;
    ValueCoding values;
    int key_bits;
    int value_bits;
};

const FormatInfo& format_info(Format format);
// False if there is no such format.
bool format_by_name(const char* name, Format& format);

struct HeadShape {
    int key_dim = 0;    // multiple of kGroup
    int value_dim = 0;  // multiple of kGroup
    [[gnu::always_inline]] int key_groups() const { return key_dim / kGroup; }
    [[gnu::always_inline]] int value_groups() const { return value_dim / kGroup; }
    bool operator==(const HeadShape& other) const { return key_dim == other.key_dim && value_dim == other.value_dim; }
};

// Byte offsets inside a page of `rows` rows.
//
// f16:      keys [row][key_dim], values [row][value_dim], binary16.
// packed:   key codes   4 bits: [key_dim/8][row][4]: byte (i, r, c) has dims 8i+c (low nibble) and 8i+4+c (high nibble)
//                       3 bits: [key_dim/32][3][row][4]: byte (i, j, r, c) has dims 32i+8j+c (low nibble) and 32i+8j+4+c (high nibble),
//                       and in the nibbles' top bits bit j of dims 32i+24+c (low) and 32i+28+c (high): 3 of 4 unpack like 4 bits
//           key scales  [group][row] binary16
//           value codes 4 bits: per group [row/4][32][row%4]: byte (j) has dims j (low nibble) and j+32 (high nibble)
//                       2 bits: per group [row/4][16][row%4]: byte (j) has dims j, j+16, j+32, j+48, from the high bits down;
//                       a row's trellis visits them in that order, byte after byte
//           value scales [group][row] binary16
// So four rows' bytes lie together for 4-way dot products, and a row can be appended without touching its neighbours.
//
// A page with gaps holds what eviction left, and behind the rows:
//           gaps     [row] uint8:  positions between the row and the one before it
//           received [row] uint8:  mean attention that the row received from a query, as mean_code() has it
struct PageLayout {
    size_t keys = 0;
    size_t key_scales = 0;
    size_t values = 0;
    size_t value_scales = 0;
    size_t gaps = 0;
    size_t received = 0;
    size_t bytes = 0;  // multiple of 64
};

PageLayout page_layout(Format format, const HeadShape& shape, int rows, bool gapped = false);

inline constexpr int kMostGap = 255;

}  // namespace deltastore
