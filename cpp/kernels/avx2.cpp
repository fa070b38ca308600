// AVX2, FMA and F16C.
#include <immintrin.h>

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
    __m256 low, high;
};

inline Lanes load_lanes(const float* source) { return {_mm256_loadu_ps(source), _mm256_loadu_ps(source + 8)}; }
inline void store_lanes(float* target, Lanes x) {
    _mm256_storeu_ps(target, x.low);
    _mm256_storeu_ps(target + 8, x.high);
}
inline Lanes spread(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Lanes operator+(Lanes a, Lanes b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline Lanes operator-(Lanes a, Lanes b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline Lanes operator*(Lanes a, Lanes b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline Lanes larger(Lanes a, Lanes b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline Lanes smaller(Lanes a, Lanes b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
inline uint16_t less(Lanes a, Lanes b) {
    return uint16_t(_mm256_movemask_ps(_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ)) |
                    _mm256_movemask_ps(_mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ)) << 8);
}
template <int Width>
inline __m256 butterfly8(__m256 x) {
    const __m256 other = Width == 1 ? _mm256_permute_ps(x, 0xb1) : Width == 2 ? _mm256_permute_ps(x, 0x4e) : _mm256_permute2f128_ps(x, x, 1);
    const auto sign = [](int lane) { return lane & Width ? -0.0f : 0.0f; };
    const __m256 signs = _mm256_setr_ps(sign(0), sign(1), sign(2), sign(3), sign(4), sign(5), sign(6), sign(7));
    return _mm256_add_ps(other, _mm256_xor_ps(x, signs));
}
template <int Width>
inline Lanes butterfly(Lanes x) {
    if (Width == 8) return {_mm256_add_ps(x.low, x.high), _mm256_sub_ps(x.low, x.high)};
    return {butterfly8<Width>(x.low), butterfly8<Width>(x.high)};
}
inline __m256 add_exponents(__m256 x, __m256 n) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_castps_si256(n), 23)));
}
inline Lanes add_exponents(Lanes x, Lanes n) { return {add_exponents(x.low, n.low), add_exponents(x.high, n.high)}; }
inline Lanes from_ints(const int32_t* source) {
    const __m256i* at = reinterpret_cast<const __m256i*>(source);
    return {_mm256_cvtepi32_ps(_mm256_loadu_si256(at)), _mm256_cvtepi32_ps(_mm256_loadu_si256(at + 1))};
}
inline void store_bytes(uint8_t* target, Lanes x) {
    // Packing works on 128-bit halves, so the pairs of lanes come out as 0 2 1 3.
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(_mm256_cvttps_epi32(x.low), _mm256_cvttps_epi32(x.high)), 0xd8);
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target), bytes);
}
inline Lanes load_half_lanes(const uint16_t* source) {
    const __m128i* at = reinterpret_cast<const __m128i*>(source);
    return {_mm256_cvtph_ps(_mm_loadu_si128(at)), _mm256_cvtph_ps(_mm_loadu_si128(at + 1))};
}
inline Lanes fused(Lanes a, Lanes b, Lanes c) { return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)}; }
inline float sum_of(Lanes x) {
    const __m256 eight = _mm256_add_ps(x.low, x.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
inline float largest_of(Lanes x) {
    const __m256 eight = _mm256_max_ps(x.high, x.low);
    __m128 four = _mm_max_ps(_mm256_extractf128_ps(eight, 1), _mm256_castps256_ps128(eight));
    four = _mm_max_ps(_mm_movehl_ps(four, four), four);
    return _mm_cvtss_f32(_mm_max_ss(_mm_movehdup_ps(four), four));
}

void store_half(const float* source, uint16_t* target, int count) {
    const __m256 limit = _mm256_set1_ps(65504.0f);
    for (int i = 0; i < count; i += 8) {
        __m256 x = _mm256_loadu_ps(source + i);
        x = _mm256_and_ps(x, _mm256_cmp_ps(x, x, _CMP_ORD_Q));
        x = _mm256_max_ps(_mm256_min_ps(x, limit), _mm256_sub_ps(_mm256_setzero_ps(), limit));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(target + i), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    }
}

inline void load_half(const uint16_t* source, float* target, int count) {
    for (int i = 0; i < count; i += 8)
        _mm256_storeu_ps(target + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i))));
}

// Eight rows and columns, 16 elements from row to row.
void transpose8(const float* block, float* target, int stride) {
    __m256 r[8], t[8];
    for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(block + 16 * i);
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    const auto pairs = [](__m256 a, __m256 b, bool high) {
        const __m256d x = _mm256_castps_pd(a), y = _mm256_castps_pd(b);
        return _mm256_castpd_ps(high ? _mm256_unpackhi_pd(x, y) : _mm256_unpacklo_pd(x, y));
    };
    for (int g = 0; g < 2; g++)
        for (int k = 0; k < 4; k++) r[4 * g + k] = pairs(t[4 * g + k / 2], t[4 * g + 2 + k / 2], k % 2);
    for (int k = 0; k < 4; k++) {  // r[4 g + k]: columns k and 4 + k of rows 4 g to 4 g + 3
        _mm256_storeu_ps(target + k * stride, _mm256_permute2f128_ps(r[k], r[4 + k], 0x20));
        _mm256_storeu_ps(target + (4 + k) * stride, _mm256_permute2f128_ps(r[k], r[4 + k], 0x31));
    }
}

void transpose16(const float (*block)[16], float* target, int stride) {
    for (int r = 0; r < 16; r += 8)
        for (int c = 0; c < 16; c += 8) transpose8(&block[r][c], target + c * stride + r, stride);
}

inline __m256i table16(const int8_t* codes, int offset) {
    const __m128i table = _mm_add_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)), _mm_set1_epi8(char(offset)));
    return _mm256_broadcastsi128_si256(table);
}

inline __m256i load_bytes(const void* source) { return _mm256_loadu_si256(static_cast<const __m256i*>(source)); }
inline void store(void* target, __m256i x) { _mm256_storeu_si256(static_cast<__m256i*>(target), x); }

inline __m256i both(__m256i a, __m256i b) { return _mm256_and_si256(a, b); }
inline __m256i either(__m256i a, __m256i b) { return _mm256_or_si256(a, b); }
template <int N>
inline __m256i right(__m256i words) { return _mm256_srli_epi16(words, N); }
inline __m256i lookup(__m256i table, __m256i indices) { return _mm256_shuffle_epi8(table, indices); }
inline __m256i bytes_of(char byte) { return _mm256_set1_epi8(byte); }
inline __m256i plus(__m256i words, __m256i more) { return _mm256_add_epi32(words, more); }
inline __m256i words_of(int32_t word) { return _mm256_set1_epi32(word); }

inline __m256i dot4(__m256i sum, __m256i unsigned_bytes, __m256i signed_bytes) {
    const __m256i pairs = _mm256_maddubs_epi16(unsigned_bytes, signed_bytes);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

inline __m256i broadcast4(const void* bytes) {
    int32_t word;
    __builtin_memcpy(&word, bytes, 4);
    return _mm256_set1_epi32(word);
}

inline __m256 load_floats(const float* source) { return _mm256_loadu_ps(source); }
inline void store_floats(float* target, __m256 x) { _mm256_storeu_ps(target, x); }
inline __m256 broadcast(const float* value) { return _mm256_broadcast_ss(value); }
inline __m256 fused_floats(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }

using Bytes = __m256i;
using Floats = __m256;
constexpr int kWide = 8;

// Bytes of rows side by side, and those that lie before them in each row.
struct PackedBytes {
    Bytes codes, previous;
};

// load(quad, k), load_some(quad, v, row_bytes) and part(bytes, p): as in wide.inl.
struct Trellis2Values {
    const uint8_t* codes;
    __m256i load(int quad, int k) const {
        const uint8_t* at = codes + quad * 64 + k % 2 * 32;
        // Each byte's predecessor in its row is four bytes earlier; a row starts from state 0.
        const __m256i packed = load_bytes(at);
        return decode(packed, k == 0 ? after_zeros(packed) : load_bytes(at - (k == 1 ? 4 : 0)), k);
    }
    // Of two rows, and anything of two more.
    __m256i load_two(int quad, int k) const {
        const uint8_t* at = codes + quad * 64 + k % 2 * 16;
        const auto widened = [](const uint8_t* from) { return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))); };
        const __m256i packed = widened(at);
        return decode(packed, k == 0 ? after_zeros(packed) : widened(at - (k == 1 ? 2 : 0)), k);
    }
    static __m256i after_zeros(__m256i packed) { return _mm256_alignr_epi8(packed, _mm256_permute2x128_si256(packed, packed, 0x08), 12); }
    static __m256i decode(__m256i packed, __m256i previous, int k) {
        const __m256i table = table16(kValueCodes2.at, 0);
        if (k >= 2)
            return _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(packed, 6 - k / 2 * 2), _mm256_set1_epi8(15)));
        return _mm256_shuffle_epi8(table, _mm256_or_si256(_mm256_and_si256(_mm256_slli_epi16(previous, 2), _mm256_set1_epi8(12)),
                                                          _mm256_and_si256(_mm256_srli_epi16(packed, 6), _mm256_set1_epi8(3))));
    }

    static constexpr int kParts = 4;
    PackedBytes load_some(int quad, int v, int row_bytes) const {
        const uint8_t* at = codes + (quad * row_bytes + v * kWide) * 4;
        const __m256i packed = load_bytes(at);
        return {packed, v == 0 ? after_zeros(packed) : load_bytes(at - 4)};
    }
    PackedBytes load_some_of_two(int quad, int v, int row_bytes) const {
        const uint8_t* at = codes + quad * row_bytes * 4 + v * kWide * 2;
        const auto widened = [](const uint8_t* from) { return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))); };
        const __m256i packed = widened(at);
        return {packed, v == 0 ? after_zeros(packed) : widened(at - 2)};
    }
    static __m256i part(const PackedBytes& bytes, int p) { return decode(bytes.codes, bytes.previous, 2 * p); }
};

template <int N, int Rows>
constexpr int key_tiles() { return N == 1 && Rows >= 32 ? 4 : 2; }
template <int N>
constexpr int value_tiles() { return N == 1 ? 8 : 2; }

}  // namespace

#include "wide.inl"
#include "common.inl"

const Kernels kAvx2Kernels = {"avx2", store_half, load_half, rotate, pack_keys, pack_values, quantize_queries, dot_rows, add_product,
                              add_sparse_product, attend_half, attend_coded};

}  // namespace deltastore
