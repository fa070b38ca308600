// What the sets with wide vectors share: how a group's code points come out of a page, and the sums over them. Included by a file that defined
// - Bytes and Floats, vectors of kWide x 4 bytes and of kWide floats, with load_bytes, store, table16, lookup, both, either, right<N>, bytes_of,
//   words_of, plus, broadcast4 and dot4; load_floats, store_floats, broadcast and fused_floats;
// - PackedBytes, bytes of four rows side by side and those before them in each row;
// - Trellis2Values;
// - key_tiles<N, Rows>() and value_tiles<N>(): vectors of rows or dims that are summed at once for N queries, as many as fit in registers.

namespace {

// load(i, k): code points of dims 8 i to 8 i + 3 and of the four after them, as unsigned bytes, of kWide rows from kWide x k on.
struct KeyPair {
    Bytes first, second;
};
template <const Codes16& Codes, int Offset>
struct Lloyd4KeysOf {
    const uint8_t* codes;
    KeyPair load(int i, int k) const {
        const Bytes table = table16(Codes.at, Offset), low = bytes_of(15);
        const Bytes packed = load_bytes(codes + (i * kPageRows + kWide * k) * 4);
        return {lookup(table, both(packed, low)), lookup(table, both(right<4>(packed), low))};
    }
    // What lies behind so many eights.
    Lloyd4KeysOf behind(int eights) const { return {codes + eights * kPageRows * 4}; }
};
using Lloyd4Keys = Lloyd4KeysOf<kKeyCodes4, kKeyOffset>;
using Lloyd4KeysAsValues = Lloyd4KeysOf<kValueCodes4, 0>;
template <const Codes16& Codes, int Offset, typename Rest>
struct Lloyd3KeysOf {
    const uint8_t* codes;
    KeyPair load(int i, int k) const {
        const uint8_t* at = codes + (i / 4 * 3 * kPageRows + kWide * k) * 4;
        constexpr int next = kPageRows * 4;
        const Bytes table = table16(Codes.at, Offset), low = bytes_of(15), top = bytes_of(char(0x88));
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
    Rest behind(int eights) const { return {codes + eights / 4 * 3 * kPageRows * 4}; }
};
using Lloyd3Keys = Lloyd3KeysOf<kKeyCodes3, kKeyOffset, Lloyd4Keys>;
using Lloyd3KeysAsValues = Lloyd3KeysOf<kValueCodes3, 0, Lloyd4KeysAsValues>;
template <int Rows>
struct KeyBytes {
    const uint8_t* bytes;
    KeyPair load(int i, int k) const {
        const uint8_t* at = bytes + (2 * i * Rows + kWide * k) * 4;
        return {load_bytes(at), load_bytes(at + Rows * 4)};
    }
    KeyBytes behind(int eights) const { return {bytes + eights * Rows * 8}; }
};
// Eights of a group in whole 32s, which 3 bits have a layout of their own for.
template <typename Group>
constexpr int whole_eights(Group group) { return group.size() / 32 * 4; }

template <typename Group, typename Keys>
void expand_keys(Group group, const Keys& keys, uint8_t* bytes) {
    const auto expand = [&](const auto& from, int i, int to) {
        for (int k = 0; k < kPageRows / kWide; k++) {
            const KeyPair pair = from.load(i, k);
            uint8_t* at = bytes + (2 * to * kPageRows + kWide * k) * 4;
            store(at, pair.first);
            store(at + kPageRows * 4, pair.second);
        }
    };
    const int whole = whole_eights(group);
    for (int i = 0; i < whole; i++) expand(keys, i, i);
    const auto rest = keys.behind(whole);
    for (int i = whole; i < group.size() / 8; i++) expand(rest, i - whole, i);
}

// load(quad, k): code points of kWide dims from kWide x k on, of four rows, in groups of 64.
// load_some(quad, v, row_bytes): kWide bytes of each of four rows, in groups whose rows have so many; part(bytes, p): the code points in part p of
// these bytes, each part of as many dims. The last row's bytes may be fewer than the vector: it ends in the scales, which follow the codes in a page.
struct Lloyd4Values {
    const uint8_t* codes;
    Bytes load(int quad, int k) const {
        constexpr int half = kGroup / 2 / kWide;  // low nibbles have the first dims
        const Bytes packed = load_bytes(codes + quad * 128 + k % half * kWide * 4);
        return part({packed, packed}, k / half);
    }
    static constexpr int kParts = 2;
    PackedBytes load_some(int quad, int v, int row_bytes) const {
        const Bytes packed = load_bytes(codes + (quad * row_bytes + v * kWide) * 4);
        return {packed, packed};
    }
    static Bytes part(const PackedBytes& packed, int p) {
        return lookup(table16(kValueCodes4.at, 0), both(p == 0 ? packed.codes : right<4>(packed.codes), bytes_of(15)));
    }
};
struct ValueBytes {
    const uint8_t* bytes;
    Bytes load(int quad, int k) const { return load_bytes(bytes + (quad * kGroup + k * kWide) * 4); }
    static constexpr int kParts = 1;
    PackedBytes load_some(int quad, int v, int row_bytes) const {
        const Bytes packed = load_bytes(bytes + (quad * row_bytes + v * kWide) * 4);
        return {packed, packed};
    }
    static Bytes part(const PackedBytes& packed, int) { return packed.codes; }
};
template <typename Values>
void expand_values(GroupOf64, const Values& values, uint8_t* bytes) {
    for (int quad = 0; quad < kPageRows / 4; quad++)
        for (int k = 0; k < kGroup / kWide; k++) store(bytes + (quad * kGroup + k * kWide) * 4, values.load(quad, k));
}

// What a last vector has behind a part's dims goes to where the next part's are, which come later; behind the last one's to the next rows.
template <typename Values>
void expand_values(GroupOfSome group, const Values& values, uint8_t* bytes) {
    const int row_bytes = group.size() / Values::kParts;
    for (int quad = 0; quad < kPageRows / 4; quad++) {
#pragma GCC unroll 4
        for (int p = 0; p < Values::kParts; p++)
            for (int v = 0; v * kWide < row_bytes; v++)
                store(bytes + (quad * group.size() + p * row_bytes + v * kWide) * 4, Values::part(values.load_some(quad, v, row_bytes), p));
    }
}

template <int N, int Rows, typename Group, typename Keys>
[[gnu::always_inline]] inline void key_dots(Group group, const Keys& keys, const int8_t* queries, int stride, const int32_t* starts,
                                            int32_t (*dots)[Rows]) {
    constexpr int tiles = key_tiles<N, Rows>();
    for (int t = 0; t < Rows / kWide; t += tiles) {
        Bytes sums[N][tiles];
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) sums[i][k] = words_of(starts[i]);
        const auto add = [&](const auto& from, int at, int d) __attribute__((always_inline)) {
            KeyPair rows[tiles];
            for (int k = 0; k < tiles; k++) rows[k] = from.load(at, t + k);
            for (int i = 0; i < N; i++) {
                const Bytes first = broadcast4(queries + i * stride + d * 8), second = broadcast4(queries + i * stride + d * 8 + 4);
                for (int k = 0; k < tiles; k++) sums[i][k] = dot4(dot4(sums[i][k], rows[k].first, first), rows[k].second, second);
            }
        };
        const int whole = whole_eights(group);
#pragma GCC unroll 4  // so that load() knows what lies where
        for (int d = 0; d < whole; d++) add(keys, d, d);
        const auto rest = keys.behind(whole);
        for (int d = whole; d < group.size() / 8; d++) add(rest, d - whole, d);
        for (int i = 0; i < N; i++)
            for (int k = 0; k < tiles; k++) store(dots[i] + (t + k) * kWide, sums[i][k]);
    }
}

template <int N, int Rows, int Extra, typename Values>
[[gnu::always_inline]] inline void value_sums(GroupOf64, const Values& values, const Trellis2Values& refined, int refined_rows,
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

// The first `count` of kWide words, at most all.
inline Bytes first_words(Bytes words, int count) {
    static const int32_t masks[2 * kWide] = {-1, -1, -1, -1, -1, -1, -1, -1, kWide > 8 ? -1 : 0, kWide > 8 ? -1 : 0, kWide > 8 ? -1 : 0,
                                             kWide > 8 ? -1 : 0, kWide > 8 ? -1 : 0, kWide > 8 ? -1 : 0, kWide > 8 ? -1 : 0, kWide > 8 ? -1 : 0};
    return count < kWide ? both(words, load_bytes(masks + kWide - count)) : words;
}

// result[i] += weights of query i . code points, over `quads` fours of rows. load(quad, v): of these, as load_some.
template <int N, int Stride, int Sums, typename Values, typename Load>
[[gnu::always_inline]] inline void add_value_sums(int row_bytes, int quads, const uint8_t (*weights)[Stride], int first_weight, const Load& load,
                                                  int32_t (*result)[Sums]) {
    constexpr int parts = Values::kParts, tiles = value_tiles<N>() < parts ? value_tiles<N>() : parts;
    for (int v = 0; v * kWide < row_bytes; v++) {
#pragma GCC unroll 4
        for (int p = 0; p < parts; p += tiles) {
            Bytes sums[N][tiles];
            for (int i = 0; i < N; i++)
                for (int k = 0; k < tiles; k++) sums[i][k] = words_of(0);
            for (int quad = 0; quad < quads; quad++) {
                const PackedBytes packed = load(quad, v);
                Bytes dims[tiles];
                for (int k = 0; k < tiles; k++) dims[k] = Values::part(packed, p + k);
                for (int i = 0; i < N; i++) {
                    const Bytes weight = broadcast4(weights[i] + first_weight + quad * 4);
                    for (int k = 0; k < tiles; k++) sums[i][k] = dot4(sums[i][k], weight, dims[k]);
                }
            }
            for (int i = 0; i < N; i++) {
                for (int k = 0; k < tiles; k++) {
                    int32_t* target = result[i] + (p + k) * row_bytes + v * kWide;
                    store(target, plus(load_bytes(target), first_words(sums[i][k], row_bytes - v * kWide)));
                }
            }
        }
    }
}

template <int N, int Rows, int Extra, typename Values>
[[gnu::always_inline]] inline void value_sums(GroupOfSome group, const Values& values, const Trellis2Values& refined, int refined_rows,
                                              const uint8_t (*weights)[Rows + Extra], int32_t (*result)[GroupOfSome::sums]) {
    const int row_bytes = group.size() / Values::kParts, refined_bytes = group.size() / Trellis2Values::kParts;
    for (int i = 0; i < N; i++)
        for (int d = 0; d < GroupOfSome::sums; d += kWide) store(result[i] + d, words_of(0));
    add_value_sums<N, Rows + Extra, GroupOfSome::sums, Values>(row_bytes, Rows / 4, weights, 0,
                                                               [&](int quad, int v) { return values.load_some(quad, v, row_bytes); }, result);
    if constexpr (Extra > 0) {
        // Copied, so that whole vectors of the last rows don't reach behind the page.
        alignas(64) uint8_t codes[kMostRefined * kMostGroup / 4 + 2 * sizeof(Bytes)];
        __builtin_memcpy(codes, refined.codes, refined_rows * refined_bytes);
        const Trellis2Values copy{codes};
        add_value_sums<N, Rows + Extra, GroupOfSome::sums, Trellis2Values>(
            refined_bytes, refined_rows / 4 + 1, weights, Rows,
            [&](int quad, int v) {
                return quad < refined_rows / 4 ? copy.load_some(quad, v, refined_bytes) : copy.load_some_of_two(quad, v, refined_bytes);
            },
            result);
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

template <int N, int Tiles>
inline void float_sums_tile(const float* values, const float (*weights)[kPageRows], int end, int dim, float* output) {
    Floats sums[N][Tiles];
    for (int i = 0; i < N; i++)
        for (int k = 0; k < Tiles; k++) sums[i][k] = load_floats(output + i * dim + k * kWide);
    for (int r = 0; r < end; r++) {
        Floats dims[Tiles];
        for (int k = 0; k < Tiles; k++) dims[k] = load_floats(values + r * dim + k * kWide);
        for (int i = 0; i < N; i++) {
            const Floats weight = broadcast(weights[i] + r);
            for (int k = 0; k < Tiles; k++) sums[i][k] = fused_floats(weight, dims[k], sums[i][k]);
        }
    }
    for (int i = 0; i < N; i++)
        for (int k = 0; k < Tiles; k++) store_floats(output + i * dim + k * kWide, sums[i][k]);
}

template <int N>
void float_sums(const float* values, const float (*weights)[kPageRows], int end, int dim, float* output) {
    constexpr int tiles = value_tiles<N>();
    int d = 0;
    for (; d + tiles * kWide <= dim; d += tiles * kWide) float_sums_tile<N, tiles>(values + d, weights, end, dim, output + d);
    for (; d + kWide <= dim; d += kWide) float_sums_tile<N, 1>(values + d, weights, end, dim, output + d);
    for (; d < dim; d++)
        for (int r = 0; r < end; r++)
            for (int i = 0; i < N; i++) output[i * dim + d] += weights[i][r] * values[r * dim + d];
}

}  // namespace
