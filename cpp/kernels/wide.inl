// What the sets with wide vectors share: how a group's code points come out of a page, and the sums over them. Included by a file that defined
// - Bytes and Floats, vectors of kWide x 4 bytes and of kWide floats, with load_bytes, store, table16, lookup, both, either, right<N>, bytes_of,
//   words_of, broadcast4 and dot4; load_floats, store_floats, broadcast and fused_floats;
// - Trellis2Values;
// - key_tiles<N, Rows>() and value_tiles<N>(): vectors of rows or dims that are summed at once for N queries, as many as fit in registers.

namespace {

// load(i, k): code points of dims 8 i to 8 i + 3 and of the four after them, as unsigned bytes, of kWide rows from kWide x k on.
struct KeyPair {
    Bytes first, second;
};
struct Lloyd4Keys {
    const uint8_t* codes;
    KeyPair load(int i, int k) const {
        const Bytes table = table16(kKeyCodes4.at, kKeyOffset), low = bytes_of(15);
        const Bytes packed = load_bytes(codes + (i * kPageRows + kWide * k) * 4);
        return {lookup(table, both(packed, low)), lookup(table, both(right<4>(packed), low))};
    }
};
struct Lloyd3Keys {
    const uint8_t* codes;
    KeyPair load(int i, int k) const {
        const uint8_t* at = codes + (i / 4 * 3 * kPageRows + kWide * k) * 4;
        constexpr int next = kPageRows * 4;
        const Bytes table = table16(kKeyCodes3.at, kKeyOffset), low = bytes_of(15), top = bytes_of(char(0x88));
        if (i % 4 < 3) {
            const Bytes packed = load_bytes(at + i % 4 * next);
            return {lookup(table, both(packed, low)), lookup(table, both(right<4>(packed), low))};
        }
        // One code in bits 0 to 2, another in bits 4 to 6; of an index the lookup ignores bits 4 to 6, and bit 7 is 0.
        const Bytes first = right<3>(both(load_bytes(at), top));
        const Bytes second = right<2>(both(load_bytes(at + next), top));
        const Bytes third = right<1>(both(load_bytes(at + 2 * next), top));
        const Bytes codes_of_both = either(either(first, second), third);
        return {lookup(table, codes_of_both), lookup(table, right<4>(codes_of_both))};
    }
};
template <int Rows>
struct KeyBytes {
    const uint8_t* bytes;
    KeyPair load(int i, int k) const {
        const uint8_t* at = bytes + (2 * i * Rows + kWide * k) * 4;
        return {load_bytes(at), load_bytes(at + Rows * 4)};
    }
};
template <typename Keys>
void expand_keys(const Keys& keys, uint8_t* bytes) {
    for (int i = 0; i < kGroup / 8; i++) {
        for (int k = 0; k < kPageRows / kWide; k++) {
            const KeyPair pair = keys.load(i, k);
            uint8_t* at = bytes + (2 * i * kPageRows + kWide * k) * 4;
            store(at, pair.first);
            store(at + kPageRows * 4, pair.second);
        }
    }
}

// load(quad, k): code points of kWide dims from kWide x k on, of four rows.
struct Lloyd4Values {
    const uint8_t* codes;
    Bytes load(int quad, int k) const {
        constexpr int half = kGroup / 2 / kWide;  // low nibbles have the first dims
        const Bytes packed = load_bytes(codes + quad * 128 + k % half * kWide * 4);
        return lookup(table16(kValueCodes4.at, 0), both(k < half ? packed : right<4>(packed), bytes_of(15)));
    }
};
struct ValueBytes {
    const uint8_t* bytes;
    Bytes load(int quad, int k) const { return load_bytes(bytes + (quad * kGroup + k * kWide) * 4); }
};
template <typename Values>
void expand_values(const Values& values, uint8_t* bytes) {
    for (int quad = 0; quad < kPageRows / 4; quad++)
        for (int k = 0; k < kGroup / kWide; k++) store(bytes + (quad * kGroup + k * kWide) * 4, values.load(quad, k));
}

template <int N, int Rows, typename Keys>
[[gnu::always_inline]] inline void key_dots(const Keys& keys, const int8_t* queries, int stride, const int32_t* starts, int32_t (*dots)[Rows]) {
    constexpr int tiles = key_tiles<N, Rows>();
    for (int t = 0; t < Rows / kWide; t += tiles) {
        Bytes sums[N][tiles];
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) sums[i][k] = words_of(starts[i]);
#pragma GCC unroll 4  // so that load() knows what lies where
        for (int d = 0; d < kGroup / 8; d++) {
            KeyPair rows[tiles];
            for (int k = 0; k < tiles; k++) rows[k] = keys.load(d, t + k);
            for (int i = 0; i < N; i++) {
                const Bytes first = broadcast4(queries + i * stride + d * 8), second = broadcast4(queries + i * stride + d * 8 + 4);
                for (int k = 0; k < tiles; k++) sums[i][k] = dot4(dot4(sums[i][k], rows[k].first, first), rows[k].second, second);
            }
        }
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) store(dots[i] + (t + k) * kWide, sums[i][k]);
    }
}

template <int N, int Rows, int Extra, typename Values>
[[gnu::always_inline]] inline void value_sums(const Values& values, const Trellis2Values& refined, int refined_rows,
                                              const uint8_t (*weights)[Rows + Extra], int32_t (*result)[kGroup]) {
    constexpr int tiles = value_tiles<N>();
#pragma GCC unroll 4  // so that load() knows its shifts
    for (int t = 0; t < kGroup / kWide; t += tiles) {
        Bytes sums[N][tiles];
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) sums[i][k] = words_of(0);
        const auto add = [&](const Bytes* dims, int row) {
            for (int i = 0; i < N; i++) {
                const Bytes weight = broadcast4(weights[i] + row);
                for (int k = 0; k < tiles; k++) sums[i][k] = dot4(sums[i][k], weight, dims[k]);
            }
        };
        for (int quad = 0; quad < Rows / 4; quad++) {
            Bytes dims[tiles];
            for (int k = 0; k < tiles; k++) dims[k] = values.load(quad, t + k);
            add(dims, quad * 4);
        }
        if constexpr (Extra > 0) {
            for (int quad = 0; quad <= refined_rows / 4; quad++) {
                Bytes dims[tiles];
                for (int k = 0; k < tiles; k++) dims[k] = quad < refined_rows / 4 ? refined.load(quad, t + k) : refined.load_two(quad, t + k);
                add(dims, Rows + quad * 4);
            }
        }
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) store(result[i] + (t + k) * kWide, sums[i][k]);
    }
}

template <int N>
void float_scores(const float* keys, const float* queries, int dim, float (*scores)[kPageRows]) {
    constexpr int tiles = value_tiles<N>();
    for (int t = 0; t < kPageRows / kWide; t += tiles) {
        Floats sums[N][tiles];
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) sums[i][k] = Floats{};
        for (int d = 0; d < dim; d++) {
            Floats rows[tiles];
            for (int k = 0; k < tiles; k++) rows[k] = load_floats(keys + d * kPageRows + (t + k) * kWide);
            for (int i = 0; i < N; i++) {
                const Floats query = broadcast(queries + i * dim + d);
                for (int k = 0; k < tiles; k++) sums[i][k] = fused_floats(query, rows[k], sums[i][k]);
            }
        }
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) store_floats(scores[i] + (t + k) * kWide, sums[i][k]);
    }
}

template <int N>
void float_sums(const float* values, const float (*weights)[kPageRows], int end, int dim, float* output) {
    constexpr int tiles = value_tiles<N>();
    for (int t = 0; t < dim; t += tiles * kWide) {
        Floats sums[N][tiles];
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) sums[i][k] = load_floats(output + i * dim + t + k * kWide);
        for (int r = 0; r < end; r++) {
            Floats dims[tiles];
            for (int k = 0; k < tiles; k++) dims[k] = load_floats(values + r * dim + t + k * kWide);
            for (int i = 0; i < N; i++) {
                const Floats weight = broadcast(weights[i] + r);
                for (int k = 0; k < tiles; k++) sums[i][k] = fused_floats(weight, dims[k], sums[i][k]);
            }
        }
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) store_floats(output + i * dim + t + k * kWide, sums[i][k]);
    }
}

}  // namespace
