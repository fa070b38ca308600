// Page formats and their layout. A page holds up to `kPageRows` tokens of one layer and one KV head.
#pragma once

#include <cstddef>
#include <cstdint>

namespace deltastore {

inline constexpr int kPageRows = 64;
// Of the window's pages: small, so that it takes little more than its rows.
inline constexpr int kWindowPageRows = 16;
inline constexpr int kGroup = 64;  // elements that share a scale, where 64 divides a head's size
inline constexpr int kMostGroup = 128;
inline constexpr int kDimStep = 8;  // a head's size is a multiple of it

// Elements of a head of that size that share a scale; the rotation mixes at least as many. Inlined, so that no instruction set's copy is linked into
// another's file.
[[gnu::always_inline]] constexpr int group_of(int dim) {
    if (dim % kGroup == 0) return kGroup;
    int group = kMostGroup;
    while (dim % group != 0) group -= kDimStep;
    return group;
}

// k4v2r6: k4v2 with refined values of up to 6 rows a page.
enum class Format : uint8_t { f16 = 0, k4v4, k4v2, k3v2, k8v8, k4v2r6, k4v2r14, k3v2r6, k3v2r14 };
inline constexpr int kFormatCount = 9;

enum class KeyCoding : uint8_t { none, lloyd4, lloyd3, linear8 };
enum class ValueCoding : uint8_t { none, lloyd4, trellis2, linear7 };

struct FormatInfo {
    const char* name;
    bool coded;   // codes and scales, on rotated rows
    bool packed;  // what rows become when they leave the window: coded, with a centre taken from the keys
    KeyCoding keys;
    ValueCoding values;
    int key_bits;
    int value_bits;
    int refined;  // rows of a page whose values can have a second code; 2 more than a multiple of 4, at most kMostRefined
};
inline constexpr int kMostRefined = 16;

const FormatInfo& format_info(Format format);
// False if there is no such format.
bool format_by_name(const char* name, Format& format);

inline constexpr int kMostDim = 1024;  // of a head

struct HeadShape {
    int key_dim = 0;    // multiple of kDimStep, at most kMostDim
    int value_dim = 0;
    // Values are the first value_dim elements of a key, and are not stored (multi-head latent attention). Then both sizes have groups of 64 and
    // key_block() is kGroup.
    bool latent = false;
    [[gnu::always_inline]] int stored_value_dim() const { return latent ? 0 : value_dim; }
    [[gnu::always_inline]] int key_group() const { return group_of(key_dim); }
    [[gnu::always_inline]] int value_group() const { return group_of(value_dim); }
    [[gnu::always_inline]] int key_groups() const { return key_dim / key_group(); }
    [[gnu::always_inline]] int value_groups() const { return value_dim / value_group(); }
    bool operator==(const HeadShape& other) const { return key_dim == other.key_dim && value_dim == other.value_dim && latent == other.latent; }
};

// Byte offsets inside a page of `rows` rows.
//
// f16:      keys [row][key_dim], values [row][value_dim], binary16.
// coded, of groups of G elements:
//           key codes   8 bits: [key_dim/4][row][4], with an offset of 128
//                       4 bits: [key_dim/8][row][4]: byte (i, r, c) has dims 8i+c (low nibble) and 8i+4+c (high nibble)
//                       3 bits: per group [G/32][3][row][4]: byte (i, j, r, c) has dims 32i+8j+c (low nibble) and 32i+8j+4+c (high nibble),
//                       and in the nibbles' top bits bit j of dims 32i+24+c (low) and 32i+28+c (high): 3 of 4 unpack like 4 bits.
//                       What is left of a group behind its last 32 dims has 4 bits, in their layout
//           key scales  [group][row] binary16
//           value codes 8 bits: per group [row/4][G][row%4]; of a sign and 6 bits
//                       4 bits: per group [row/4][G/2][row%4]: byte (j) has dims j (low nibble) and j+G/2 (high nibble)
//                       2 bits: per group [row/4][G/4][row%4]: byte (j) has dims j, j+G/4, j+G/2, j+3G/4, from the high bits down;
//                       a row's trellis visits them in that order, byte after byte
//           value scales [group][row] binary16
// So four rows' bytes lie together for 4-way dot products, and a row can be appended without touching its neighbours.
//
// Of refined rows, besides: the difference between a row's values and what their codes give, coded again, so that both make 4 bits.
//           refined codes  2 bits: as value codes, with refined rows for rows; of the last two [G/4][2]
//           refined scales [group][refined row] binary16
//           refined rows   [refined row] uint8: 1 + the row, 0 where there is none yet; used from the front
//
// Of latent values nothing is stored, and no rows are refined.
//
// A page with gaps holds what eviction left, and behind the rows:
//           gaps     [row] uint8:  positions between the row and the one before it
//           received [row] uint8:  mean attention that the row received from a query, as mean_code() has it
struct PageLayout {
    int rows = 0;  // that the page has room for
    int refined = 0;  // of these, that can have a second code
    int key_group = 0, value_group = 0;  // elements
    size_t keys = 0;
    size_t key_scales = 0;
    size_t values = 0;
    size_t value_scales = 0;
    size_t refined_values = 0;
    size_t refined_scales = 0;
    size_t refined_rows = 0;
    size_t gaps = 0;
    size_t received = 0;
    size_t bytes = 0;  // multiple of 64
};

PageLayout page_layout(Format format, const HeadShape& shape, int rows, bool gapped = false);

inline constexpr int kMostGap = 255;

// A row's bytes of key codes in a group.
[[gnu::always_inline]] constexpr int key_group_bytes(int bits, int group) { return bits == 3 ? group / 32 * 12 + group % 32 / 2 : group * bits / 8; }

// Blocks of the rotation: as large as the head allows for keys; for values a group, as llama.cpp's authors found 64 better (their pull request 21038).
constexpr int key_block(int dim) {
    int block = group_of(dim);
    while (dim % (2 * block) == 0) block *= 2;
    return block;
}
constexpr int value_block(int dim) { return group_of(dim); }

}  // namespace deltastore
