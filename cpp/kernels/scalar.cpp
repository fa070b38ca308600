// The reference: plain C++, for every processor. What the other kernels must give.
#include "format/codebook.h"
#include "format/half.h"
#include "format/hartley.h"
#include "kernels.h"

namespace deltastore {

#include "groups.inl"

namespace {

constexpr int kLanes = 16;
constexpr int kProductVectors = 1;  // of a row of a product, kept in registers
struct Lanes {
    float at[kLanes];
};

template <typename Value>
inline Lanes each(Value value) {
    Lanes result;
    for (int l = 0; l < kLanes; l++) result.at[l] = value(l);
    return result;
}

inline Lanes load_lanes(const float* source) {
    return each([=](int l) { return source[l]; });
}
inline void store_lanes(float* target, const Lanes& x) {
    for (int l = 0; l < kLanes; l++) target[l] = x.at[l];
}
inline Lanes spread(float x) {
    return each([=](int) { return x; });
}
inline Lanes operator+(const Lanes& a, const Lanes& b) {
    return each([&](int l) { return a.at[l] + b.at[l]; });
}
inline Lanes operator-(const Lanes& a, const Lanes& b) {
    return each([&](int l) { return a.at[l] - b.at[l]; });
}
inline Lanes operator*(const Lanes& a, const Lanes& b) {
    return each([&](int l) { return a.at[l] * b.at[l]; });
}
// b where a is NaN.
inline Lanes larger(const Lanes& a, const Lanes& b) {
    return each([&](int l) { return a.at[l] > b.at[l] ? a.at[l] : b.at[l]; });
}
// b unless a < b.
inline Lanes smaller(const Lanes& a, const Lanes& b) {
    return each([&](int l) { return a.at[l] < b.at[l] ? a.at[l] : b.at[l]; });
}
// A bit a lane.
inline uint16_t less(const Lanes& a, const Lanes& b) {
    int bits = 0;
    for (int l = 0; l < kLanes; l++) bits |= (a.at[l] < b.at[l]) << l;
    return uint16_t(bits);
}
// A step of the Walsh-Hadamard transform: sums of lanes that are Width apart, and their differences.
template <int Width>
inline Lanes butterfly(const Lanes& x) {
    return each([&](int l) { return l & Width ? x.at[l ^ Width] - x.at[l] : x.at[l] + x.at[l ^ Width]; });
}
// x with the low bits of n's representation added to its exponent.
inline Lanes add_exponents(const Lanes& x, const Lanes& n) {
    return each([&](int l) { return float_from_bits(bits_from_float(x.at[l]) + (bits_from_float(n.at[l]) << 23)); });
}
inline Lanes from_ints(const int32_t* source) {
    return each([=](int l) { return float(source[l]); });
}
// Whole parts of values from 0 to 255.
inline void store_bytes(uint8_t* target, const Lanes& x) {
    for (int l = 0; l < kLanes; l++) target[l] = uint8_t(int32_t(x.at[l]));
}
inline Lanes load_half_lanes(const uint16_t* source) {
    return each([=](int l) { return half_to_float(source[l]); });
}
// a * b + c, which need not be rounded in between.
inline Lanes fused(const Lanes& a, const Lanes& b, const Lanes& c) {
    return a * b + c;
}
inline float sum_of(Lanes x) {
    for (int width = kLanes / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++) x.at[l] += x.at[l + width];
    return x.at[0];
}
inline float largest_of(Lanes x) {
    for (int width = kLanes / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++) x.at[l] = x.at[l + width] > x.at[l] ? x.at[l + width] : x.at[l];
    return x.at[0];
}

void store_half(const float* source, uint16_t* target, int count) {
    for (int i = 0; i < count; i++) target[i] = float_to_half(source[i]);
}

void load_half(const uint16_t* source, float* target, int count) {
    for (int i = 0; i < count; i++) target[i] = half_to_float(source[i]);
}

// target[column * stride + row] = block[row][column]
void transpose16(const float (*block)[16], float* target, int stride) {
    for (int c = 0; c < 16; c++)
        for (int r = 0; r < 16; r++) target[c * stride + r] = block[r][c];
}

// Code points of a group's keys as unsigned bytes.
template <const Codes16& Codes, int Offset>
struct Lloyd4KeysOf {
    const uint8_t* codes;  // [group / 8][row][4], see PageLayout
    int at(int row, int d, int) const {
        const uint8_t byte = codes[(d / 8 * kPageRows + row) * 4 + d % 4];
        return Codes.at[d % 8 < 4 ? byte & 15 : byte >> 4] + Offset;
    }
};
using Lloyd4Keys = Lloyd4KeysOf<kKeyCodes4, kKeyOffset>;
using Lloyd4KeysAsValues = Lloyd4KeysOf<kValueCodes4, 0>;
template <const Codes16& Codes, int Offset, typename Rest>
struct Lloyd3KeysOf {
    const uint8_t* codes;  // [group / 32][3][row][4], and the rest at 4 bits
    int at(int row, int d, int group) const {
        const int in_thirds = group / 32 * 32;
        if (d >= in_thirds) return Rest{codes + key_group_bytes(3, in_thirds) * kPageRows}.at(row, d - in_thirds, group);
        const uint8_t* bytes = codes + (d / 32 * 3 * kPageRows + row) * 4 + d % 4;
        constexpr int next = kPageRows * 4;
        const int nibble = d % 8 < 4 ? 0 : 4, top = nibble + 3;
        const int code = d % 32 < 24 ? bytes[d % 32 / 8 * next] >> nibble & 7
                                     : (bytes[0] >> top & 1) | (bytes[next] >> top & 1) << 1 | (bytes[2 * next] >> top & 1) << 2;
        return Codes.at[code] + Offset;
    }
};
using Lloyd3Keys = Lloyd3KeysOf<kKeyCodes3, kKeyOffset, Lloyd4Keys>;
using Lloyd3KeysAsValues = Lloyd3KeysOf<kValueCodes3, 0, Lloyd4KeysAsValues>;
template <int Rows>
struct KeyBytes {
    const uint8_t* bytes;  // [group / 4][row][4]
    int at(int row, int d, int) const { return bytes[(d / 4 * Rows + row) * 4 + d % 4]; }
};
template <typename Group, typename Keys>
void expand_keys(Group group, const Keys& keys, uint8_t* bytes) {
    for (int d = 0; d < group.size(); d++)
        for (int r = 0; r < kPageRows; r++) bytes[(d / 4 * kPageRows + r) * 4 + d % 4] = uint8_t(keys.at(r, d, group.size()));
}

// Code points of a group's values.
struct Lloyd4Values {
    const uint8_t* codes;  // [row / 4][group / 2][row % 4]
    int at(int row, int d, int group) const {
        const int half = group / 2;
        const uint8_t byte = codes[row / 4 * half * 4 + d % half * 4 + row % 4];
        return kValueCodes4.at[d < half ? byte & 15 : byte >> 4];
    }
};
struct Trellis2Values {
    const uint8_t* codes;  // [row / 4][group / 4][row % 4]
    int at(int row, int d, int group, int abreast = 4) const {
        const int quarter = group / 4;
        const uint8_t* byte = codes + row / 4 * group + d % quarter * abreast + row % 4;
        const int window = (d % quarter == 0 ? 0 : byte[-abreast]) << 8 | *byte;
        return kValueCodes2.at[window >> (6 - d / quarter * 2) & 15];
    }
};
struct ValueBytes {
    const uint8_t* bytes;  // [row / 4][group][row % 4]
    int at(int row, int d, int group) const { return int8_t(bytes[(row / 4 * group + d) * 4 + row % 4]); }
};
template <typename Group, typename Values>
void expand_values(Group group, const Values& values, uint8_t* bytes) {
    for (int r = 0; r < kPageRows; r++)
        for (int d = 0; d < group.size(); d++) bytes[(r / 4 * group.size() + d) * 4 + r % 4] = uint8_t(values.at(r, d, group.size()));
}

// dots[i][row] = starts[i] + query i . key row, over one group.
template <int N, int Rows, typename Group, typename Keys>
void key_dots(Group group, const Keys& keys, const int8_t* queries, int stride, const int32_t* starts, int32_t (*dots)[Rows]) {
    for (int i = 0; i < N; i++) {
        for (int r = 0; r < Rows; r++) {
            int32_t sum = starts[i];
            for (int d = 0; d < group.size(); d++) sum += keys.at(r, d, group.size()) * queries[i * stride + d];
            dots[i][r] = sum;
        }
    }
}

// sums[i][d] = weights of query i . values of dim d, over the rows and the refined ones, of which the last two lie in pairs.
template <int N, int Rows, int Extra, typename Group, typename Values>
void value_sums(Group group, const Values& values, const Trellis2Values& refined, int refined_rows, const uint8_t (*weights)[Rows + Extra],
                int32_t (*sums)[Group::sums]) {
    const int size = group.size();
    for (int i = 0; i < N; i++) {
        for (int d = 0; d < size; d++) {
            int32_t sum = 0;
            for (int r = 0; r < Rows; r++) sum += weights[i][r] * values.at(r, d, size);
            for (int r = 0; Extra > 0 && r < refined_rows; r++)
                sum += weights[i][Rows + r] * refined.at(r, d, size, r < refined_rows - 2 ? 4 : 2);
            sums[i][d] = sum;
        }
    }
}

// keys: [dim][row]
template <int N>
void float_scores(const float* keys, const float* queries, int dim, float (*scores)[kPageRows]) {
    for (int i = 0; i < N; i++) {
        for (int r = 0; r < kPageRows; r++) scores[i][r] = 0.0f;
        for (int d = 0; d < dim; d++)
            for (int r = 0; r < kPageRows; r++) scores[i][r] += queries[i * dim + d] * keys[d * kPageRows + r];
    }
}

// output[i] += weights of query i x values, over rows [0, end). values: [row][dim]
template <int N>
void float_sums(const float* values, const float (*weights)[kPageRows], int end, int dim, float* output) {
    for (int i = 0; i < N; i++)
        for (int r = 0; r < end; r++)
            for (int d = 0; d < dim; d++) output[i * dim + d] += weights[i][r] * values[r * dim + d];
}

}  // namespace

#include "common.inl"

const Kernels kScalarKernels = {"scalar", store_half, load_half, rotate, pack_keys, pack_values, quantize_queries, dot_rows, add_product,
                                add_sparse_product, attend_half, attend_coded};

}  // namespace deltastore
