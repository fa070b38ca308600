// AVX-512 F, BW, DQ, VL and VNNI.
#include <immintrin.h>

#include "format/codebook.h"
#include "format/half.h"
#include "format/hartley.h"
#include "kernels.h"

namespace deltastore {

#include "groups.inl"

namespace {

constexpr int kLanes = 16;
constexpr int kProductVectors = 4;  // of a row of a product, kept in registers
struct Lanes {
    __m512 x;
};

inline Lanes load_lanes(const float* source) { return {_mm512_loadu_ps(source)}; }
inline void store_lanes(float* target, Lanes x) { _mm512_storeu_ps(target, x.x); }
inline Lanes spread(float x) { return {_mm512_set1_ps(x)}; }
inline Lanes operator+(Lanes a, Lanes b) { return {_mm512_add_ps(a.x, b.x)}; }
inline Lanes operator-(Lanes a, Lanes b) { return {_mm512_sub_ps(a.x, b.x)}; }
inline Lanes operator*(Lanes a, Lanes b) { return {_mm512_mul_ps(a.x, b.x)}; }
inline Lanes larger(Lanes a, Lanes b) { return {_mm512_max_ps(a.x, b.x)}; }
inline Lanes smaller(Lanes a, Lanes b) { return {_mm512_min_ps(a.x, b.x)}; }
inline uint16_t less(Lanes a, Lanes b) { return uint16_t(_mm512_cmp_ps_mask(a.x, b.x, _CMP_LT_OQ)); }
template <int Width>
inline Lanes butterfly(Lanes lanes) {
    const __m512 x = lanes.x;
    const __m512 other = Width == 1   ? _mm512_permute_ps(x, 0xb1)
                         : Width == 2 ? _mm512_permute_ps(x, 0x4e)
                         : Width == 4 ? _mm512_shuffle_f32x4(x, x, 0xb1)
                                      : _mm512_shuffle_f32x4(x, x, 0x4e);
    constexpr __mmask16 differences = Width == 1 ? 0xaaaa : Width == 2 ? 0xcccc : Width == 4 ? 0xf0f0 : 0xff00;
    return {_mm512_mask_sub_ps(_mm512_add_ps(other, x), differences, other, x)};
}
inline Lanes add_exponents(Lanes x, Lanes n) {
    return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x.x), _mm512_slli_epi32(_mm512_castps_si512(n.x), 23)))};
}
inline Lanes from_ints(const int32_t* source) { return {_mm512_cvtepi32_ps(_mm512_loadu_si512(source))}; }
inline void store_bytes(uint8_t* target, Lanes x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(x.x)));
}
inline Lanes load_half_lanes(const uint16_t* source) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(source)))};
}
inline Lanes fused(Lanes a, Lanes b, Lanes c) { return {_mm512_fmadd_ps(a.x, b.x, c.x)}; }
inline float sum_of(Lanes x) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x.x), _mm512_extractf32x8_ps(x.x, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
inline float largest_of(Lanes x) {
    const __m256 eight = _mm256_max_ps(_mm512_extractf32x8_ps(x.x, 1), _mm512_castps512_ps256(x.x));
    __m128 four = _mm_max_ps(_mm256_extractf128_ps(eight, 1), _mm256_castps256_ps128(eight));
    four = _mm_max_ps(_mm_movehl_ps(four, four), four);
    return _mm_cvtss_f32(_mm_max_ss(_mm_movehdup_ps(four), four));
}

inline __mmask16 first_lanes(int count) { return __mmask16(count < 16 ? (1 << count) - 1 : 0xffff); }

void store_half(const float* source, uint16_t* target, int count) {
    const __m512 limit = _mm512_set1_ps(65504.0f);
    for (int i = 0; i < count; i += 16) {
        const __mmask16 there = first_lanes(count - i);
        __m512 x = _mm512_maskz_loadu_ps(there, source + i);
        x = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), x);
        x = _mm512_max_ps(_mm512_min_ps(x, limit), _mm512_sub_ps(_mm512_setzero_ps(), limit));
        _mm256_mask_storeu_epi16(target + i, there, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    }
}

inline void load_half(const uint16_t* source, float* target, int count) {
    int i = 0;
    for (; i + 16 <= count; i += 16)
        _mm512_storeu_ps(target + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i))));
    if (i == count) return;
    const __mmask16 there = first_lanes(count - i);
    _mm512_mask_storeu_ps(target + i, there, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(there, source + i)));
}

void transpose16(const float (*block)[16], float* target, int stride) {
    __m512 r[16], t[16];
    for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_ps(block[i]);
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    const auto pairs = [](__m512 a, __m512 b, bool high) {
        const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
        return _mm512_castpd_ps(high ? _mm512_unpackhi_pd(x, y) : _mm512_unpacklo_pd(x, y));
    };
    for (int g = 0; g < 4; g++)
        for (int k = 0; k < 4; k++) r[4 * g + k] = pairs(t[4 * g + k / 2], t[4 * g + 2 + k / 2], k % 2);
    // r[4 g + k]: columns k, 4 + k, 8 + k and 12 + k of rows 4 g to 4 g + 3, a quarter each
    for (int half = 0; half < 2; half++) {
        for (int k = 0; k < 4; k++) {
            t[8 * half + k] = _mm512_shuffle_f32x4(r[8 * half + k], r[8 * half + 4 + k], 0x88);
            t[8 * half + 4 + k] = _mm512_shuffle_f32x4(r[8 * half + k], r[8 * half + 4 + k], 0xdd);
        }
    }
    for (int k = 0; k < 8; k++) {
        _mm512_storeu_ps(target + k * stride, _mm512_shuffle_f32x4(t[k], t[8 + k], 0x88));
        _mm512_storeu_ps(target + (8 + k) * stride, _mm512_shuffle_f32x4(t[k], t[8 + k], 0xdd));
    }
}

inline __m512i table16(const int8_t* codes, int offset) {
    const __m128i table = _mm_add_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)), _mm_set1_epi8(char(offset)));
    return _mm512_broadcast_i32x4(table);
}

inline __m512i load_bytes(const void* source) { return _mm512_loadu_si512(source); }
inline void store(void* target, __m512i x) { _mm512_storeu_si512(target, x); }

inline __m512i both(__m512i a, __m512i b) { return _mm512_and_si512(a, b); }
inline __m512i either(__m512i a, __m512i b) { return _mm512_or_si512(a, b); }
template <int N>
inline __m512i right(__m512i words) { return _mm512_srli_epi16(words, N); }
inline __m512i lookup(__m512i table, __m512i indices) { return _mm512_shuffle_epi8(table, indices); }
inline __m512i bytes_of(char byte) { return _mm512_set1_epi8(byte); }
inline __m512i plus(__m512i words, __m512i more) { return _mm512_add_epi32(words, more); }
inline __m512i words_of(int32_t word) { return _mm512_set1_epi32(word); }

inline __m512i dot4(__m512i sum, __m512i unsigned_bytes, __m512i signed_bytes) { return _mm512_dpbusd_epi32(sum, unsigned_bytes, signed_bytes); }

inline __m512i broadcast4(const void* bytes) {
    int32_t word;
    __builtin_memcpy(&word, bytes, 4);
    return _mm512_set1_epi32(word);
}

inline __m512 load_floats(const float* source) { return _mm512_loadu_ps(source); }
inline void store_floats(float* target, __m512 x) { _mm512_storeu_ps(target, x); }
inline __m512 broadcast(const float* value) { return _mm512_set1_ps(*value); }
inline __m512 fused_floats(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }

using Bytes = __m512i;
using Floats = __m512;
constexpr int kWide = 16;

// Bytes of rows side by side, and those that lie before them in each row.
struct PackedBytes {
    Bytes codes, previous;
};

// load(quad, k), load_some(quad, v, row_bytes) and part(bytes, p): as in wide.inl.
struct Trellis2Values {
    const uint8_t* codes;
    __m512i load(int quad, int k) const { return decode(load_bytes(codes + quad * 64), k); }
    // Of two rows, and anything of two more.
    __m512i load_two(int quad, int k) const {
        return decode(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + quad * 64))), k);
    }
    static __m512i decode(__m512i packed, int k) {
        const __m512i table = table16(kValueCodes2.at, 0);
        if (k > 0)
            return _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(packed, 6 - 2 * k), _mm512_set1_epi8(15)));
        return decode_first(packed, after_zeros(packed));
    }
    static __m512i after_zeros(__m512i packed) { return _mm512_alignr_epi32(packed, _mm512_setzero_si512(), 15); }  // four bytes earlier in its row
    static __m512i decode_first(__m512i packed, __m512i previous) {
        return _mm512_shuffle_epi8(table16(kValueCodes2.at, 0),
                                   _mm512_or_si512(_mm512_and_si512(_mm512_slli_epi16(previous, 2), _mm512_set1_epi8(12)),
                                                   _mm512_and_si512(_mm512_srli_epi16(packed, 6), _mm512_set1_epi8(3))));
    }

    static constexpr int kParts = 4;
    PackedBytes load_some(int quad, int v, int row_bytes) const {
        const uint8_t* at = codes + (quad * row_bytes + v * kWide) * 4;
        const __m512i packed = load_bytes(at);
        return {packed, v == 0 ? after_zeros(packed) : load_bytes(at - 4)};
    }
    PackedBytes load_some_of_two(int quad, int v, int row_bytes) const {
        const uint8_t* at = codes + quad * row_bytes * 4 + v * kWide * 2;
        const auto widened = [](const uint8_t* from) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))); };
        const __m512i packed = widened(at);
        return {packed, v == 0 ? after_zeros(packed) : widened(at - 2)};
    }
    static __m512i part(const PackedBytes& bytes, int p) { return p == 0 ? decode_first(bytes.codes, bytes.previous) : decode(bytes.codes, p); }
};

template <int N, int Rows>
constexpr int key_tiles() { return Rows / 16; }
template <int N>
constexpr int value_tiles() { return 4; }

}  // namespace

#include "wide.inl"
#include "common.inl"

const Kernels kAvx512Kernels = {"avx512", store_half, load_half, rotate, pack_keys, pack_values, quantize_queries, dot_rows, add_product,
                                add_sparse_product, attend_half, attend_coded};

}  // namespace deltastore
