// AVX2, FMA and F16C.
#include <immintrin.h>

#include "format/codebook.h"
#include "format/half.h"
#include "kernels.h"

namespace deltastore {

namespace {

constexpr int kLanes = 16;
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

// load(i, k): code points of dims 8 i to 8 i + 3 and of the four after them, as unsigned bytes, of rows 8 k to 8 k + 7.
struct KeyPair {
    __m256i first, second;
};
struct Lloyd4Keys {
    const uint8_t* codes;
    KeyPair load(int i, int k) const {
        const __m256i table = table16(kKeyCodes4.at, kKeyOffset), low = _mm256_set1_epi8(15);
        const __m256i packed = load_bytes(codes + (i * kPageRows + 8 * k) * 4);
        return {_mm256_shuffle_epi8(table, _mm256_and_si256(packed, low)),
                _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(packed, 4), low))};
    }
};
struct Lloyd3Keys {
    const uint8_t* codes;
    KeyPair load(int i, int k) const {
        const uint8_t* at = codes + (i / 4 * 3 * kPageRows + 8 * k) * 4;
        constexpr int next = kPageRows * 4;
        const __m256i table = table16(kKeyCodes3.at, kKeyOffset), low = _mm256_set1_epi8(15), top = _mm256_set1_epi8(char(0x88));
        if (i % 4 < 3) {
            const __m256i packed = load_bytes(at + i % 4 * next);
            return {_mm256_shuffle_epi8(table, _mm256_and_si256(packed, low)),
                    _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(packed, 4), low))};
        }
        // One code in bits 0 to 2, another in bits 4 to 6; of an index the shuffle ignores bits 4 to 6, and bit 7 is 0.
        const __m256i first = _mm256_srli_epi16(_mm256_and_si256(load_bytes(at), top), 3);
        const __m256i second = _mm256_srli_epi16(_mm256_and_si256(load_bytes(at + next), top), 2);
        const __m256i third = _mm256_srli_epi16(_mm256_and_si256(load_bytes(at + 2 * next), top), 1);
        const __m256i both = _mm256_or_si256(_mm256_or_si256(first, second), third);
        return {_mm256_shuffle_epi8(table, both), _mm256_shuffle_epi8(table, _mm256_srli_epi16(both, 4))};
    }
};
template <int Rows>
struct KeyBytes {
    const uint8_t* bytes;
    KeyPair load(int i, int k) const {
        const uint8_t* at = bytes + (2 * i * Rows + 8 * k) * 4;
        return {load_bytes(at), load_bytes(at + Rows * 4)};
    }
};
template <typename Keys>
void expand_keys(const Keys& keys, uint8_t* bytes) {
    for (int i = 0; i < kGroup / 8; i++) {
        for (int k = 0; k < 8; k++) {
            const KeyPair pair = keys.load(i, k);
            uint8_t* at = bytes + (2 * i * kPageRows + 8 * k) * 4;
            store(at, pair.first);
            store(at + kPageRows * 4, pair.second);
        }
    }
}

// load(quad, k): code points of dims 8 k to 8 k + 7 of four rows.
struct Lloyd4Values {
    const uint8_t* codes;
    __m256i load(int quad, int k) const {
        const __m256i packed = load_bytes(codes + quad * 128 + k % 4 * 32);
        const __m256i nibbles = _mm256_and_si256(k < 4 ? packed : _mm256_srli_epi16(packed, 4), _mm256_set1_epi8(15));
        return _mm256_shuffle_epi8(table16(kValueCodes4.at, 0), nibbles);
    }
};
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
};
struct ValueBytes {
    const uint8_t* bytes;
    __m256i load(int quad, int k) const { return load_bytes(bytes + quad * kGroup * 4 + k * 32); }
};
template <typename Values>
void expand_values(const Values& values, uint8_t* bytes) {
    for (int quad = 0; quad < kPageRows / 4; quad++)
        for (int k = 0; k < 8; k++) store(bytes + quad * kGroup * 4 + k * 32, values.load(quad, k));
}

inline __m256i dot4(__m256i sum, __m256i unsigned_bytes, __m256i signed_bytes) {
    const __m256i pairs = _mm256_maddubs_epi16(unsigned_bytes, signed_bytes);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

inline __m256i broadcast4(const void* bytes) {
    int32_t word;
    __builtin_memcpy(&word, bytes, 4);
    return _mm256_set1_epi32(word);
}

template <int N, int Rows, typename Keys>
[[gnu::always_inline]] inline void key_dots(const Keys& keys, const int8_t* queries, int stride, const int32_t* starts, int32_t (*dots)[Rows]) {
    constexpr int tiles = N == 1 && Rows >= 32 ? 4 : 2;  // of 8 rows: as many sums as fit in registers
    for (int t = 0; t < Rows / 8; t += tiles) {
        __m256i sums[N][tiles];
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) sums[i][k] = _mm256_set1_epi32(starts[i]);
#pragma GCC unroll 4  // so that load() knows what lies where
        for (int d = 0; d < kGroup / 8; d++) {
            KeyPair rows[tiles];
            for (int k = 0; k < tiles; k++) rows[k] = keys.load(d, t + k);
            for (int i = 0; i < N; i++) {
                const __m256i first = broadcast4(queries + i * stride + d * 8), second = broadcast4(queries + i * stride + d * 8 + 4);
                for (int k = 0; k < tiles; k++) sums[i][k] = dot4(dot4(sums[i][k], rows[k].first, first), rows[k].second, second);
            }
        }
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) store(dots[i] + (t + k) * 8, sums[i][k]);
    }
}

template <int N, int Rows, int Extra, typename Values>
[[gnu::always_inline]] inline void value_sums(const Values& values, const Trellis2Values& refined, int refined_rows,
                                              const uint8_t (*weights)[Rows + Extra], int32_t (*result)[kGroup]) {
    constexpr int tiles = N == 1 ? 8 : 2;  // of 8 dims
#pragma GCC unroll 4  // so that load() knows its shifts
    for (int t = 0; t < 8; t += tiles) {
        __m256i sums[N][tiles];
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) sums[i][k] = _mm256_setzero_si256();
        const auto add = [&](const __m256i* dims, int row) {
            for (int i = 0; i < N; i++) {
                const __m256i weight = broadcast4(weights[i] + row);
                for (int k = 0; k < tiles; k++) sums[i][k] = dot4(sums[i][k], weight, dims[k]);
            }
        };
        for (int quad = 0; quad < Rows / 4; quad++) {
            __m256i dims[tiles];
            for (int k = 0; k < tiles; k++) dims[k] = values.load(quad, t + k);
            add(dims, quad * 4);
        }
        if constexpr (Extra > 0) {
            for (int quad = 0; quad <= refined_rows / 4; quad++) {
                __m256i dims[tiles];
                for (int k = 0; k < tiles; k++) dims[k] = quad < refined_rows / 4 ? refined.load(quad, t + k) : refined.load_two(quad, t + k);
                add(dims, Rows + quad * 4);
            }
        }
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) store(result[i] + (t + k) * 8, sums[i][k]);
    }
}

template <int N>
void float_scores(const float* keys, const float* queries, int dim, float (*scores)[kPageRows]) {
    constexpr int tiles = N == 1 ? 8 : 2;
    for (int t = 0; t < 8; t += tiles) {
        __m256 sums[N][tiles];
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) sums[i][k] = _mm256_setzero_ps();
        for (int d = 0; d < dim; d++) {
            __m256 rows[tiles];
            for (int k = 0; k < tiles; k++) rows[k] = _mm256_loadu_ps(keys + d * kPageRows + (t + k) * 8);
            for (int i = 0; i < N; i++) {
                const __m256 query = _mm256_broadcast_ss(queries + i * dim + d);
                for (int k = 0; k < tiles; k++) sums[i][k] = _mm256_fmadd_ps(query, rows[k], sums[i][k]);
            }
        }
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) _mm256_storeu_ps(scores[i] + (t + k) * 8, sums[i][k]);
    }
}

template <int N>
void float_sums(const float* values, const float (*weights)[kPageRows], int end, int dim, float* output) {
    constexpr int tiles = N == 1 ? 8 : 2;
    for (int t = 0; t < dim / 8; t += tiles) {
        __m256 sums[N][tiles];
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) sums[i][k] = _mm256_loadu_ps(output + i * dim + (t + k) * 8);
        for (int r = 0; r < end; r++) {
            __m256 dims[tiles];
            for (int k = 0; k < tiles; k++) dims[k] = _mm256_loadu_ps(values + r * dim + (t + k) * 8);
            for (int i = 0; i < N; i++) {
                const __m256 weight = _mm256_broadcast_ss(weights[i] + r);
                for (int k = 0; k < tiles; k++) sums[i][k] = _mm256_fmadd_ps(weight, dims[k], sums[i][k]);
            }
        }
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) _mm256_storeu_ps(output + i * dim + (t + k) * 8, sums[i][k]);
    }
}

}  // namespace

#include "common.inl"

const Kernels kAvx2Kernels = {"avx2", store_half, load_half, rotate, pack_keys, pack_values, quantize_queries, dot_rows, attend_half,
                              attend_coded};

}  // namespace deltastore
