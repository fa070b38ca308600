// AVX-512 F, BW, DQ, VL and VNNI.
#include <immintrin.h>

#include "format/codebook.h"
#include "format/half.h"
#include "kernels.h"

namespace deltastore {

namespace {

constexpr int kLanes = 16;
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

void store_half(const float* source, uint16_t* target, int count) {
    const __m512 limit = _mm512_set1_ps(65504.0f);
    for (int i = 0; i < count; i += 16) {
        __m512 x = _mm512_loadu_ps(source + i);
        x = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), x);
        x = _mm512_max_ps(_mm512_min_ps(x, limit), _mm512_sub_ps(_mm512_setzero_ps(), limit));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + i), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    }
}

inline void load_half(const uint16_t* source, float* target, int count) {
    for (int i = 0; i < count; i += 16)
        _mm512_storeu_ps(target + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i))));
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

// load(i, k): code points of dims 8 i to 8 i + 3 and of the four after them, as unsigned bytes, of rows 16 k to 16 k + 15.
struct KeyPair {
    __m512i first, second;
};
struct Lloyd4Keys {
    const uint8_t* codes;
    KeyPair load(int i, int k) const {
        const __m512i table = table16(kKeyCodes4.at, kKeyOffset), low = _mm512_set1_epi8(15);
        const __m512i packed = load_bytes(codes + (i * kPageRows + 16 * k) * 4);
        return {_mm512_shuffle_epi8(table, _mm512_and_si512(packed, low)),
                _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(packed, 4), low))};
    }
};
struct Lloyd3Keys {
    const uint8_t* codes;
    KeyPair load(int i, int k) const {
        const uint8_t* at = codes + (i / 4 * 3 * kPageRows + 16 * k) * 4;
        constexpr int next = kPageRows * 4;
        const __m512i table = table16(kKeyCodes3.at, kKeyOffset), low = _mm512_set1_epi8(15), top = _mm512_set1_epi8(char(0x88));
        if (i % 4 < 3) {
            const __m512i packed = load_bytes(at + i % 4 * next);
            return {_mm512_shuffle_epi8(table, _mm512_and_si512(packed, low)),
                    _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(packed, 4), low))};
        }
        // One code in bits 0 to 2, another in bits 4 to 6; of an index the shuffle ignores bits 4 to 6, and bit 7 is 0.
        const __m512i first = _mm512_srli_epi16(_mm512_and_si512(load_bytes(at), top), 3);
        const __m512i second = _mm512_srli_epi16(_mm512_and_si512(load_bytes(at + next), top), 2);
        const __m512i third = _mm512_srli_epi16(_mm512_and_si512(load_bytes(at + 2 * next), top), 1);
        const __m512i both = _mm512_or_si512(_mm512_or_si512(first, second), third);
        return {_mm512_shuffle_epi8(table, both), _mm512_shuffle_epi8(table, _mm512_srli_epi16(both, 4))};
    }
};
template <int Rows>
struct KeyBytes {
    const uint8_t* bytes;
    KeyPair load(int i, int k) const {
        const uint8_t* at = bytes + (2 * i * Rows + 16 * k) * 4;
        return {load_bytes(at), load_bytes(at + Rows * 4)};
    }
};
template <typename Keys>
void expand_keys(const Keys& keys, uint8_t* bytes) {
    for (int i = 0; i < kGroup / 8; i++) {
        for (int k = 0; k < 4; k++) {
            const KeyPair pair = keys.load(i, k);
            uint8_t* at = bytes + (2 * i * kPageRows + 16 * k) * 4;
            store(at, pair.first);
            store(at + kPageRows * 4, pair.second);
        }
    }
}

// load(quad, k): code points of dims 16 k to 16 k + 15 of four rows.
struct Lloyd4Values {
    const uint8_t* codes;
    __m512i load(int quad, int k) const {
        const __m512i packed = load_bytes(codes + quad * 128 + k % 2 * 64);
        const __m512i nibbles = _mm512_and_si512(k < 2 ? packed : _mm512_srli_epi16(packed, 4), _mm512_set1_epi8(15));
        return _mm512_shuffle_epi8(table16(kValueCodes4.at, 0), nibbles);
    }
};
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
        const __m512i previous = _mm512_alignr_epi32(packed, _mm512_setzero_si512(), 15);  // four bytes earlier in its row
        return _mm512_shuffle_epi8(table, _mm512_or_si512(_mm512_and_si512(_mm512_slli_epi16(previous, 2), _mm512_set1_epi8(12)),
                                                          _mm512_and_si512(_mm512_srli_epi16(packed, 6), _mm512_set1_epi8(3))));
    }
};
struct ValueBytes {
    const uint8_t* bytes;
    __m512i load(int quad, int k) const { return load_bytes(bytes + quad * kGroup * 4 + k * 64); }
};
template <typename Values>
void expand_values(const Values& values, uint8_t* bytes) {
    for (int quad = 0; quad < kPageRows / 4; quad++)
        for (int k = 0; k < 4; k++) store(bytes + quad * kGroup * 4 + k * 64, values.load(quad, k));
}

inline __m512i broadcast4(const void* bytes) {
    int32_t word;
    __builtin_memcpy(&word, bytes, 4);
    return _mm512_set1_epi32(word);
}

template <int N, int Rows, typename Keys>
[[gnu::always_inline]] inline void key_dots(const Keys& keys, const int8_t* queries, int stride, const int32_t* starts, int32_t (*dots)[Rows]) {
    constexpr int tiles = Rows / 16;
    __m512i sums[N][tiles];
    for (int i = 0; i < N; i++)
        for (int k = 0; k < tiles; k++) sums[i][k] = _mm512_set1_epi32(starts[i]);
#pragma GCC unroll 4  // so that load() knows what lies where
    for (int d = 0; d < kGroup / 8; d++) {
        KeyPair rows[tiles];
        for (int k = 0; k < tiles; k++) rows[k] = keys.load(d, k);
        for (int i = 0; i < N; i++) {
            const __m512i first = broadcast4(queries + i * stride + d * 8), second = broadcast4(queries + i * stride + d * 8 + 4);
            for (int k = 0; k < tiles; k++)
                sums[i][k] = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(sums[i][k], rows[k].first, first), rows[k].second, second);
        }
    }
    for (int i = 0; i < N; i++)
        for (int k = 0; k < tiles; k++) store(dots[i] + k * 16, sums[i][k]);
}

template <int N, int Rows, int Extra, typename Values>
[[gnu::always_inline]] inline void value_sums(const Values& values, const Trellis2Values& refined, int refined_rows,
                                              const uint8_t (*weights)[Rows + Extra], int32_t (*result)[kGroup]) {
    __m512i sums[N][4];
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 4; k++) sums[i][k] = _mm512_setzero_si512();
    const auto add = [&](const __m512i* dims, int row) {
        for (int i = 0; i < N; i++) {
            const __m512i weight = broadcast4(weights[i] + row);
            for (int k = 0; k < 4; k++) sums[i][k] = _mm512_dpbusd_epi32(sums[i][k], weight, dims[k]);
        }
    };
    for (int quad = 0; quad < Rows / 4; quad++) {
        __m512i dims[4];
        for (int k = 0; k < 4; k++) dims[k] = values.load(quad, k);
        add(dims, quad * 4);
    }
    if constexpr (Extra > 0) {
        for (int quad = 0; quad <= refined_rows / 4; quad++) {
            __m512i dims[4];
            for (int k = 0; k < 4; k++) dims[k] = quad < refined_rows / 4 ? refined.load(quad, k) : refined.load_two(quad, k);
            add(dims, Rows + quad * 4);
        }
    }
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 4; k++) store(result[i] + k * 16, sums[i][k]);
}

template <int N>
void float_scores(const float* keys, const float* queries, int dim, float (*scores)[kPageRows]) {
    __m512 sums[N][4];
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 4; k++) sums[i][k] = _mm512_setzero_ps();
    for (int d = 0; d < dim; d++) {
        __m512 rows[4];
        for (int k = 0; k < 4; k++) rows[k] = _mm512_loadu_ps(keys + d * kPageRows + k * 16);
        for (int i = 0; i < N; i++) {
            const __m512 query = _mm512_set1_ps(queries[i * dim + d]);
            for (int k = 0; k < 4; k++) sums[i][k] = _mm512_fmadd_ps(query, rows[k], sums[i][k]);
        }
    }
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 4; k++) _mm512_storeu_ps(scores[i] + k * 16, sums[i][k]);
}

template <int N>
void float_sums(const float* values, const float (*weights)[kPageRows], int end, int dim, float* output) {
    for (int t = 0; t < dim; t += kGroup) {
        __m512 sums[N][4];
        for (int i = 0; i < N; i++)
            for (int k = 0; k < 4; k++) sums[i][k] = _mm512_loadu_ps(output + i * dim + t + k * 16);
        for (int r = 0; r < end; r++) {
            __m512 dims[4];
            for (int k = 0; k < 4; k++) dims[k] = _mm512_loadu_ps(values + r * dim + t + k * 16);
            for (int i = 0; i < N; i++) {
                const __m512 weight = _mm512_set1_ps(weights[i][r]);
                for (int k = 0; k < 4; k++) sums[i][k] = _mm512_fmadd_ps(weight, dims[k], sums[i][k]);
            }
        }
        for (int i = 0; i < N; i++)
            for (int k = 0; k < 4; k++) _mm512_storeu_ps(output + i * dim + t + k * 16, sums[i][k]);
    }
}

}  // namespace

#include "common.inl"

const Kernels kAvx512Kernels = {"avx512", store_half, load_half, rotate, pack_keys, pack_values, quantize_queries, dot_rows, attend_half,
                                attend_coded};

}  // namespace deltastore
