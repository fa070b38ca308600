// What every instruction set shares, compiled once for each with that set's flags. A file that includes this defines first, in an anonymous
// namespace:
// - Lanes, kLanes floats, with load_lanes, store_lanes, load_half_lanes, from_ints, store_bytes, spread, + - *, fused, larger, smaller, less,
//   sum_of, largest_of, add_exponents and butterfly<Width>;
// - Lloyd4Keys, Lloyd3Keys, Lloyd4KeysAsValues, Lloyd3KeysAsValues, Lloyd4Values and Trellis2Values, which give a group's code points from where they lie
//   in a page; KeyBytes<Rows> and ValueBytes, which do so for 8-bit pages of so many rows, and for the bytes that expand_keys and expand_values make of the
//   others;
// - key_dots<N, Rows> and value_sums<N, Rows, Extra> over these, for either kind of group (groups.inl). They are always_inline: GCC makes calls of those
//   that two formats share, which costs 5% of a decoded token's attention;
// - store_half, load_half, transpose16, float_scores<N> and float_sums<N>.
// Sums go lane by lane and then in one order, and only F16 pages fuse multiply and add. So coded pages give the same bits on all sets.
// No std:: templates: the linker would keep one set's copy for all.

namespace {

constexpr int kBlock = 4;  // queries that share the loads of a page
constexpr float kMinusInfinity = -__builtin_inff();

// Of a group.
template <typename Group>
inline float lane_dot(Group group, const float* a, const float* b) {
    Lanes sum = load_lanes(a) * load_lanes(b);
    for (int i = kLanes; i < group.padded(); i += kLanes) sum = sum + load_lanes(a + i) * load_lanes(b + i);
    return sum_of(sum);
}

inline float lane_max(const float* values, int count) {
    Lanes most = load_lanes(values);
    for (int i = kLanes; i < count; i += kLanes) most = larger(load_lanes(values + i), most);
    return largest_of(most);
}

// Sets what an array has behind its group, which is filled afterwards.
inline void clear(GroupOf64, float*) {}
inline void clear(GroupOfSome, float* x) { __builtin_memset(x, 0, GroupOfSome::most * sizeof(float)); }

template <typename Group>
inline float largest_magnitude(Group group, const float* x) {
    float magnitudes[Group::most];
    clear(group, magnitudes);
    for (int i = 0; i < group.size(); i++) magnitudes[i] = x[i] < 0 ? -x[i] : x[i];
    return lane_max(magnitudes, group.padded());
}

// The nearest integer, for |x| < 2^22.
inline float round_to_int(float x) { return (x + 12582912.0f) - 12582912.0f; }

// exp(x) for x <= 0, relative error below 2e-7 and a rounding of x / ln 2; x below -87, or NaN, gives about 1e-38. 2^n by the
// exponent's bits; 2^f for |f| <= 1/2 by a polynomial whose largest relative error, 9.2e-8, is the least that its degree allows.
inline Lanes exp_lanes(Lanes x) {
    const Lanes power = larger(x, spread(-87.0f)) * spread(1.44269504f);
    const Lanes shifted = power + spread(12582912.0f);  // 1.5 x 2^23: the lowest bits are now the nearest integer
    const Lanes f = power - (shifted - spread(12582912.0f));
    Lanes p = spread(1.326472709e-3f);
    p = p * f + spread(9.671512862e-3f);
    p = p * f + spread(5.550733746e-2f);
    p = p * f + spread(2.402224208e-1f);
    p = p * f + spread(6.931469776e-1f);
    p = p * f + spread(1.0f);
    return add_exponents(p, shifted);
}

inline float exp_one(float x) {
    float values[kLanes];
    store_lanes(values, exp_lanes(spread(x)));
    return values[0];
}

// Hadamard transform of `size` floats, a power of two, times `norm`.
inline void hadamard(float* x, int size, float norm) {
    if (size < kLanes) {
        for (int width = 1; width < size; width *= 2) {
            for (int i = 0; i < size; i += 2 * width) {
                for (int j = i; j < i + width; j++) {
                    const float a = x[j], b = x[j + width];
                    x[j] = a + b;
                    x[j + width] = a - b;
                }
            }
        }
        for (int i = 0; i < size; i++) x[i] *= norm;
        return;
    }
    for (int i = 0; i < size; i += kLanes)
        store_lanes(x + i, butterfly<8>(butterfly<4>(butterfly<2>(butterfly<1>(load_lanes(x + i))))));
    for (int width = kLanes; width < size; width *= 2) {
        for (int i = 0; i < size; i += 2 * width) {
            for (int j = i; j < i + width; j += kLanes) {
                const Lanes a = load_lanes(x + j), b = load_lanes(x + j + width);
                store_lanes(x + j, a + b);
                store_lanes(x + j + width, a - b);
            }
        }
    }
    for (int i = 0; i < size; i += kLanes) store_lanes(x + i, load_lanes(x + i) * spread(norm));
}

// Hartley transform of `size` rows of `width` floats, column by column.
inline void hartley_columns(float* x, int size, int width) {
    float before[kMostDim];
    __builtin_memcpy(before, x, size_t(size) * width * sizeof(float));
    const float* table = kHartley.at[size / 2];
    for (int j = 0; j < size; j++, x += width) {
        for (int i = 0; i < width; i++) x[i] = before[i] * table[0];
        for (int k = 1; k < size; k++) {
            const float factor = table[j * k % size];
            for (int i = 0; i < width; i++) x[i] += before[k * width + i] * factor;
        }
    }
}

void rotate(float* rows, int count, int dim, int block) {
    const int power = block & -block, odd = block / power;
    const float norm = 1.0f / __builtin_sqrtf(float(power));
    for (float* x = rows; x < rows + size_t(count) * dim; x += block) {
        for (int i = 0; i < block; i += power) hadamard(x + i, power, norm);
        if (odd > 1) hartley_columns(x, odd, power);
    }
}

// ---- packing

template <int Levels>
struct Boundaries {
    float at[Levels - 1];
    constexpr explicit Boundaries(const float (&points)[Levels]) : at{} {
        for (int i = 0; i + 1 < Levels; i++) at[i] = 0.5f * (points[i] + points[i + 1]);
    }
};
constexpr Boundaries<16> kBoundaries16(kLloydMax16);
constexpr Boundaries<8> kBoundaries8(kLloydMax8);

template <typename Group>
inline float root_mean_square(Group group, const float* x) {
    return __builtin_sqrtf(lane_dot(group, x, x) / group.size());
}

// The scale of code points at unit variance: <x,x> / <x,c>.
template <typename Group>
inline uint16_t projection_scale(Group group, const float* x, const float* points) {
    const float energy = lane_dot(group, x, x);
    const float projection = lane_dot(group, x, points);
    return float_to_half(projection > 0 && energy > 0 ? energy / projection : 0.0f);
}

// From element `fine` on the codes are those of 16 levels.
template <int Levels, typename Group>
inline void lloyd_max_codes(Group group, const float* x, const Boundaries<Levels>& boundaries, const Codes16& code_points, float step,
                            uint8_t* codes, uint16_t* scale, int fine) {
    const float rms = root_mean_square(group, x);
    const float inverse = rms > 0 ? 1.0f / rms : 0.0f;
    int counts[Group::most] = {0};
    for (int b = 0; b < Levels - 1; b++)
        for (int i = 0; i < fine; i++) counts[i] += x[i] * inverse > boundaries.at[b];
    for (int b = 0; b < 15; b++)
        for (int i = fine; i < group.size(); i++) counts[i] += x[i] * inverse > kBoundaries16.at[b];
    float points[Group::most];
    clear(group, points);
    for (int i = 0; i < group.size(); i++) {
        codes[i] = uint8_t(counts[i]);
        points[i] = (i < fine ? code_points : kKeyCodes4).at[counts[i]] * step;
    }
    *scale = projection_scale(group, x, points);
}

// A row's codes of `count` elements into its bytes, kPageRows x 4 apart; see PageLayout.
inline void place_key_codes4(const uint8_t* row, int count, uint8_t* bytes) {
    for (int i = 0; i < count / 8; i++)
        for (int c = 0; c < 4; c++) bytes[i * kPageRows * 4 + c] = uint8_t(row[8 * i + c] | row[8 * i + 4 + c] << 4);
}
inline void place_key_codes3(const uint8_t* row, int count, uint8_t* bytes) {
    for (int d = 0; d < count; d += 32, row += 32)
        for (int j = 0; j < 3; j++, bytes += kPageRows * 4)
            for (int c = 0; c < 4; c++) {
                const int low = row[8 * j + c] | (row[24 + c] >> j & 1) << 3, high = row[8 * j + 4 + c] | (row[28 + c] >> j & 1) << 3;
                bytes[c] = uint8_t(low | high << 4);
            }
}

// Codes from -most to most for a scale x step.
template <typename Group>
inline void linear_codes(Group group, const float* x, int most, float step, int8_t* codes, uint16_t* scale) {
    *scale = float_to_half(largest_magnitude(group, x) / (float(most) * step));
    const float unit = half_to_float(*scale) * step, inverse = unit > 0 ? 1.0f / unit : 0.0f;
    for (int i = 0; i < group.size(); i++) {
        const float code = round_to_int(x[i] * inverse);  // a scale below binary16's normal range may be far too small
        codes[i] = int8_t(code > most ? most : code < -most ? -most : int(code));
    }
}

template <typename Group>
inline void pack_keys_of(Group group, KeyCoding coding, const float* rows, int count, int dim, const float* centre, int first, int page_rows,
                         uint8_t* codes, uint16_t* scales) {
    const int size = group.size(), in_thirds = size / 32 * 32;
    for (int r = 0; r < count; r++) {
        const int row = first + r;
        for (int g = 0; g < dim / size; g++) {
            float x[Group::most];
            clear(group, x);
            for (int i = 0; i < size; i++) x[i] = rows[r * dim + g * size + i] - (centre ? centre[g * size + i] : 0.0f);
            uint8_t points[Group::most];
            uint16_t* scale = &scales[g * page_rows + row];
            const auto bytes_of = [&](int bits) { return codes + size_t(g) * page_rows * key_group_bytes(bits, size) + row * 4; };
            if (coding == KeyCoding::linear8) {
                int8_t signed_points[Group::most];
                linear_codes(group, x, kLinearKeyMax, kKeyStep, signed_points, scale);
                uint8_t* bytes = bytes_of(8);
                for (int i = 0; i < size; i++) bytes[i / 4 * page_rows * 4 + i % 4] = uint8_t(signed_points[i] + kKeyOffset);
            } else if (coding == KeyCoding::lloyd3) {
                lloyd_max_codes(group, x, kBoundaries8, kKeyCodes3, kKeyStep, points, scale, in_thirds);
                place_key_codes3(points, in_thirds, bytes_of(3));
                place_key_codes4(points + in_thirds, size - in_thirds, bytes_of(3) + key_group_bytes(3, in_thirds) * kPageRows);
            } else {
                lloyd_max_codes(group, x, kBoundaries16, kKeyCodes4, kKeyStep, points, scale, size);
                place_key_codes4(points, size, bytes_of(4));
            }
        }
    }
}

void pack_keys(KeyCoding coding, const float* rows, int count, int dim, const float* centre, int first, int page_rows, uint8_t* codes,
               uint16_t* scales) {
    with_group(dim, [&](auto group) { pack_keys_of(group, coding, rows, count, dim, centre, first, page_rows, codes, scales); });
}

// Byte `j` of a row's group in the value layout: rows of a group of four lie side by side, or the last two.
inline size_t value_offset(int group, int row, int j, int bytes_a_row, int page_rows = kPageRows) {
    const int abreast = page_rows - row / 4 * 4 < 4 ? 2 : 4;
    return size_t(group) * page_rows * bytes_a_row + size_t(row / 4) * bytes_a_row * 4 + j * abreast + row % 4;
}

// A group of a row, as an array.
template <typename Group>
inline void load_group(Group group, const float* row, float* x) {
    clear(group, x);
    for (int i = 0; i < group.size(); i++) x[i] = row[i];
}

template <typename Group>
void pack_values_linear(Group group, const float* rows, int count, int dim, int first, int page_rows, uint8_t* codes, uint16_t* scales) {
    const int size = group.size();
    for (int r = 0; r < count; r++) {
        for (int g = 0; g < dim / size; g++) {
            int8_t points[Group::most];
            linear_codes(group, rows + r * dim + g * size, kLinearValueMax, 1.0f, points, &scales[g * page_rows + first + r]);
            for (int j = 0; j < size; j++) codes[value_offset(g, first + r, j, size, page_rows)] = uint8_t(points[j]);
        }
    }
}

template <typename Group>
void pack_values_lloyd(Group group, const float* rows, int count, int dim, int first, uint8_t* codes, uint16_t* scales) {
    const int size = group.size(), half = size / 2;
    for (int r = 0; r < count; r++) {
        for (int g = 0; g < dim / size; g++) {
            float x[Group::most];
            load_group(group, rows + r * dim + g * size, x);
            uint8_t row[Group::most];
            lloyd_max_codes(group, x, kBoundaries16, kValueCodes4, kValueStep4, row, &scales[g * kPageRows + first + r], size);
            for (int j = 0; j < half; j++) codes[value_offset(g, first + r, j, half)] = uint8_t(row[j] | row[j + half] << 4);
        }
    }
}

// Viterbi search (Forney 1973) over the 4-state trellis, kLanes rows at a time; element `t` of the trellis is dim t / 4 + (t % 4) quarters
// of its group, the order of the packed bytes. Of equal ways the first is taken.
template <typename Group>
void trellis_symbols(Group group, const float (*steps)[kLanes], uint8_t (*symbols)[kLanes]) {
    Lanes cost[4] = {spread(0.0f), spread(1e30f), spread(1e30f), spread(1e30f)};
    // Bits a lane of how a state was reached: from state 1 rather than 0, from 3 rather than 2, from one of the latter.
    uint16_t ways[Group::most][4][3];
    for (int t = 0; t < group.size(); t++) {
        const Lanes x = load_lanes(steps[t]);
        Lanes next[4];
        for (int s = 0; s < 4; s++) {
            Lanes total[4];
            for (int p = 0; p < 4; p++) {
                const Lanes d = x - spread(kValueCodes2.at[4 * p + s] * kValueStep2);
                total[p] = cost[p] + d * d;
            }
            const Lanes low = smaller(total[1], total[0]), high = smaller(total[3], total[2]);
            ways[t][s][0] = less(total[1], total[0]);
            ways[t][s][1] = less(total[3], total[2]);
            ways[t][s][2] = less(high, low);
            next[s] = smaller(high, low);
        }
        for (int s = 0; s < 4; s++) cost[s] = next[s];
    }
    float costs[4][kLanes];
    int state[kLanes];
    for (int s = 0; s < 4; s++) store_lanes(costs[s], cost[s]);
    for (int l = 0; l < kLanes; l++) {
        state[l] = 0;
        for (int s = 1; s < 4; s++)
            if (costs[s][l] < costs[state[l]][l]) state[l] = s;
    }
    for (int t = group.size() - 1; t >= 0; t--) {
        for (int l = 0; l < kLanes; l++) {
            symbols[t][l] = uint8_t(state[l]);
            const uint16_t* way = ways[t][state[l]];
            const int high = way[2] >> l & 1;
            state[l] = 2 * high + (way[high] >> l & 1);
        }
    }
}

template <typename Group>
void pack_values_trellis(Group group, const float* rows, int count, int dim, int first, int page_rows, uint8_t* codes, uint16_t* scales) {
    const int size = group.size(), quarter = size / 4;
    for (int g = 0; g < dim / size; g++) {
        for (int r0 = 0; r0 < count; r0 += kLanes) {
            const int lanes = count - r0 < kLanes ? count - r0 : kLanes;
            float steps[Group::most][kLanes];
            for (int l = 0; l < kLanes; l++) {
                float x[Group::most];
                load_group(group, rows + (r0 + (l < lanes ? l : 0)) * dim + g * size, x);
                const float rms = root_mean_square(group, x);
                const float inverse = rms > 0 ? 1.0f / rms : 0.0f;
                for (int t = 0; t < size; t++) steps[t][l] = x[t / 4 + quarter * (t % 4)] * inverse;
            }
            uint8_t symbols[Group::most][kLanes];
            trellis_symbols(group, steps, symbols);
            for (int l = 0; l < lanes; l++) {
                const int row = first + r0 + l;
                float x[Group::most], points[Group::most];
                load_group(group, rows + (r0 + l) * dim + g * size, x);
                clear(group, points);
                int previous = 0;
                for (int t = 0; t < size; t++) {
                    points[t / 4 + quarter * (t % 4)] = kValueCodes2.at[4 * previous + symbols[t][l]] * kValueStep2;
                    previous = symbols[t][l];
                }
                scales[g * page_rows + row] = projection_scale(group, x, points);
                for (int j = 0; j < quarter; j++)
                    codes[value_offset(g, row, j, quarter, page_rows)] =
                        uint8_t(symbols[4 * j][l] << 6 | symbols[4 * j + 1][l] << 4 | symbols[4 * j + 2][l] << 2 | symbols[4 * j + 3][l]);
            }
        }
    }
}

void pack_values(ValueCoding coding, const float* rows, int count, int dim, int first, int page_rows, uint8_t* codes, uint16_t* scales) {
    with_group(dim, [&](auto group) {
        if (coding == ValueCoding::linear7) pack_values_linear(group, rows, count, dim, first, page_rows, codes, scales);
        else if (coding == ValueCoding::trellis2) pack_values_trellis(group, rows, count, dim, first, page_rows, codes, scales);
        else pack_values_lloyd(group, rows, count, dim, first, codes, scales);
    });
}

void quantize_queries(const float* query, int count, int dim, int8_t* codes, float* scales, int32_t* sums) {
    with_group(dim, [&](auto group) {
        const int size = group.size();
        for (int i = 0; i < count * (dim / size); i++) {
            const float* x = query + i * size;
            const float largest = largest_magnitude(group, x);
            const bool usable = largest > 0 && largest < __builtin_inff();
            const float inverse = usable ? kQueryMax / largest : 0.0f;
            int32_t sum = 0;
            for (int e = 0; e < size; e++) {
                const float rounded = round_to_int(x[e] * inverse);
                const int32_t code = usable && rounded >= -kQueryMax && rounded <= kQueryMax ? int32_t(rounded) : 0;  // NaN is 0
                codes[i * size + e] = int8_t(code);
                sum += code;
            }
            sums[i] = sum;
            scales[i] = usable ? largest / kQueryMax * kKeyStep : 0.0f;
        }
    });
}

void dot_rows(const float* rows, int count, int dim, const float* vector, float* dots) {
    for (int i = 0; i < count; i++, rows += dim) {
        Lanes sum = spread(0.0f);
        int d = 0;
        for (; d + kLanes <= dim; d += kLanes) sum = sum + load_lanes(rows + d) * load_lanes(vector + d);
        float dot = sum_of(sum);
        for (; d < dim; d++) dot += rows[d] * vector[d];
        dots[i] = dot;
    }
}

// As many rows of the product as the registers hold, in kProductVectors vectors each.
constexpr int kProductRows = 6;

// `b` and `product` begin at the columns.
template <int N>
inline void multiply_rows(const float* a, int inner, const float* b, float* product, int stride) {
    Lanes sums[N][kProductVectors];
    for (int r = 0; r < N; r++)
        for (int v = 0; v < kProductVectors; v++) sums[r][v] = load_lanes(product + r * stride + v * kLanes);
    for (int i = 0; i < inner; i++, b += kPanelColumns) {
        Lanes lanes[kProductVectors];
        for (int v = 0; v < kProductVectors; v++) lanes[v] = load_lanes(b + v * kLanes);
        for (int r = 0; r < N; r++) {
            const Lanes x = spread(a[r * inner + i]);
            for (int v = 0; v < kProductVectors; v++) sums[r][v] = fused(x, lanes[v], sums[r][v]);
        }
    }
    for (int r = 0; r < N; r++)
        for (int v = 0; v < kProductVectors; v++) store_lanes(product + r * stride + v * kLanes, sums[r][v]);
}

template <int N>
inline void multiply_last(int rows, const float* a, int inner, const float* b, float* product, int stride) {
    if (rows == N) return multiply_rows<N>(a, inner, b, product, stride);
    if constexpr (N > 1) multiply_last<N - 1>(rows, a, inner, b, product, stride);
}

// Columns outside: those of `b` stay in the processor's cache for all rows.
void add_product(const float* a, int rows, int inner, const PanelRow* b, float* product, int stride) {
    for (int column = 0; column < kPanelColumns; column += kProductVectors * kLanes) {
        int row = 0;
        const auto rows_from = [&](int first) { return a + long(first) * inner; };
        const auto target = [&](int first) { return product + long(first) * stride + column; };
        for (; row + kProductRows <= rows; row += kProductRows) multiply_rows<kProductRows>(rows_from(row), inner, b->at + column, target(row), stride);
        if (row < rows) multiply_last<kProductRows - 1>(rows - row, rows_from(row), inner, b->at + column, target(row), stride);
    }
}

void add_sparse_product(const SparseRows& a, const PanelRow* b, float* product, int stride) {
    constexpr int kCount = kPanelColumns / kLanes;
    for (int r = 0; r < a.count; r++, product += stride) {
        if (a.begins[r] == a.ends[r]) continue;
        Lanes sums[kCount];
        for (int l = 0; l < kCount; l++) sums[l] = load_lanes(product + l * kLanes);
        for (uint32_t i = a.begins[r]; i < a.ends[r]; i++) {
            const float* row = b[a.columns[i]].at;
            const Lanes value = spread(a.values[i]);
            for (int l = 0; l < kCount; l++) sums[l] = fused(value, load_lanes(row + l * kLanes), sums[l]);
        }
        for (int l = 0; l < kCount; l++) store_lanes(product + l * kLanes, sums[l]);
    }
}

// ---- attention

// The end of the page's rows that a query sees, given those of the reference.
inline int visible_end(const PageRows& rows, int32_t position) {
    const int32_t seen = position - rows.position + 1;
    return rows.begin + (seen < 0 ? 0 : seen < rows.count ? seen : rows.count);
}

// The first of these rows; their end if it sees none.
inline int visible_begin(const PageRows& rows, const QueryBlock& queries, int i) {
    if (queries.first_seen == nullptr) return rows.begin;
    const int32_t hidden = queries.first_seen[i] - rows.position;
    return rows.begin + (hidden < 0 ? 0 : hidden < rows.count ? hidden : rows.count);
}

// Sets what lies outside rows [begin, end).
template <int Rows>
inline void outside(float* values, int begin, int end, float value) {
    for (int r = 0; r < begin; r++) values[r] = value;
    for (int r = end; r < Rows; r++) values[r] = value;
}

// received += weights of rows [begin, end), for scores whose softmax has this maximum and sum.
template <int Rows>
inline void add_received(const float* scores, int begin, int end, float maximum, float sum, float* received) {
    if (end <= begin || !(sum > 0)) return;
    alignas(64) float weights[Rows];
    const Lanes most = spread(maximum), inverse = spread(1.0f / sum);
    for (int r = 0; r < Rows; r += kLanes) store_lanes(weights + r, exp_lanes(load_lanes(scores + r) - most) * inverse);
    outside<Rows>(weights, begin, end, 0.0f);
    for (int r = 0; r < Rows; r += kLanes) store_lanes(received + r, load_lanes(received + r) + load_lanes(weights + r));
}

// Scores of a page to weights exp(score - new maximum), 0 for rows outside. Updates the query's maximum and sum and
// scales its output down; false, and all weights 0, if no row is visible.
template <int Rows = kPageRows>
inline bool online_softmax(const PageRows& rows, const QueryBlock& queries, int i, float* scores) {
    const int begin = visible_begin(rows, queries, i), end = visible_end(rows, queries.positions[i]);
    const bool whole = begin == 0 && end == Rows;
    if (queries.soft_cap != 0) {
        for (int r = begin; r < end; r++) scores[r] = queries.soft_cap * __builtin_tanhf(scores[r] / queries.soft_cap);
    }
    if (queries.slopes[i] != 0) {
        for (int r = begin; r < end; r++) scores[r] -= queries.slopes[i] * float(queries.positions[i] - (rows.position + r - rows.begin));
    }
    if (!whole) outside<Rows>(scores, begin, end, kMinusInfinity);
    if (queries.received != nullptr) {
        const int32_t behind = queries.positions[i] - rows.position;  // of the first row
        const int reached = behind > queries.reach ? rows.begin + (behind - queries.reach) : rows.begin;
        add_received<Rows>(scores, reached > begin ? reached : begin, end, queries.maxima[i], queries.sums[i], queries.received);
        return false;
    }
    const float highest = lane_max(scores, Rows);
    const float before = queries.maxima[i];
    const float maximum = highest > before ? highest : before;
    if (end <= begin || !(maximum > kMinusInfinity)) {
        outside<Rows>(scores, 0, 0, 0.0f);
        return false;
    }
    const Lanes most = spread(maximum);
    for (int r = 0; r < Rows; r += kLanes) store_lanes(scores + r, exp_lanes(load_lanes(scores + r) - most));
    if (!whole) outside<Rows>(scores, begin, end, 0.0f);
    if (maximum > before) {
        const float factor = before > kMinusInfinity ? exp_one(before - maximum) : 0.0f;
        queries.maxima[i] = maximum;
        queries.sums[i] *= factor;
        float* output = queries.output + size_t(i) * rows.shape.value_dim;
        int d = 0;
        for (; d + kLanes <= rows.shape.value_dim; d += kLanes) store_lanes(output + d, load_lanes(output + d) * spread(factor));
        for (; d < rows.shape.value_dim; d++) output[d] *= factor;
    }
    Lanes sum = load_lanes(scores);
    for (int r = kLanes; r < Rows; r += kLanes) sum = sum + load_lanes(scores + r);
    queries.sums[i] += sum_of(sum);
    return true;
}

// Weights x value scales of rows [begin, end) and of `Extra` more as bytes, in units of the result.
template <int Rows, int Extra>
inline float byte_weights(const float* weights, const float* scales, int begin, int end, uint8_t* bytes) {
    alignas(64) float scaled[Rows + Extra];
    for (int r = 0; r < Rows + Extra; r += kLanes) store_lanes(scaled + r, load_lanes(weights + r) * load_lanes(scales + r));
    if (begin != 0 || end != Rows) outside<Rows>(scaled, begin, end, 0.0f);  // their scales may be anything
    const float largest = lane_max(scaled, Rows + Extra);
    const float inverse = largest > 1e-30f ? kWeightMax / largest : 0.0f;
    for (int r = 0; r < Rows + Extra; r += kLanes) store_bytes(bytes + r, load_lanes(scaled + r) * spread(inverse) + spread(0.5f));
    return inverse > 0 ? largest / kWeightMax : 0.0f;
}

// Values of a page that is not coded, and how far a row's are behind the last one's.
inline const uint16_t* half_values(const PageRows& rows) {
    return reinterpret_cast<const uint16_t*>(rows.page + (rows.shape.latent ? rows.layout->keys : rows.layout->values));
}
inline int half_value_stride(const PageRows& rows) { return rows.shape.latent ? rows.shape.key_dim : rows.shape.value_dim; }

// Adds weights x values of `Tile` lanes of dims.
template <int N, int Tile>
inline void add_half_values(const PageRows& rows, const uint16_t* values, const float (*weights)[kPageRows], int end, float* output) {
    const int value_dim = rows.shape.value_dim, stride = half_value_stride(rows);
    Lanes sums[N][Tile];
    for (int i = 0; i < N; i++)
        for (int k = 0; k < Tile; k++) sums[i][k] = load_lanes(output + i * value_dim + k * kLanes);
    for (int r = rows.begin; r < end; r++) {
        Lanes value[Tile];
        for (int k = 0; k < Tile; k++) value[k] = load_half_lanes(values + r * stride + k * kLanes);
        for (int i = 0; i < N; i++)
            for (int k = 0; k < Tile; k++) sums[i][k] = fused(spread(weights[i][r]), value[k], sums[i][k]);
    }
    for (int i = 0; i < N; i++)
        for (int k = 0; k < Tile; k++) store_lanes(output + i * value_dim + k * kLanes, sums[i][k]);
}

// Few queries: straight from the page.
template <int N>
inline void attend_half_rows(const PageRows& rows, const QueryBlock& queries, int first, int end) {
    const int key_dim = rows.shape.key_dim, value_dim = rows.shape.value_dim;
    const uint16_t* keys = reinterpret_cast<const uint16_t*>(rows.page + rows.layout->keys);
    const uint16_t* values = half_values(rows);
    const int stride = half_value_stride(rows);
    const float* query = queries.query + size_t(first) * key_dim;
    alignas(64) float scores[N][kPageRows];
    for (int r = rows.begin; r < end; r++) {
        Lanes sums[N];
        for (int i = 0; i < N; i++) sums[i] = spread(0.0f);
        int d = 0;
        for (; d + kLanes <= key_dim; d += kLanes) {
            const Lanes key = load_half_lanes(keys + r * key_dim + d);
            for (int i = 0; i < N; i++) sums[i] = fused(load_lanes(query + i * key_dim + d), key, sums[i]);
        }
        for (int i = 0; i < N; i++) scores[i][r] = sum_of(sums[i]);
        for (; d < key_dim; d++) {
            const float key = half_to_float(keys[r * key_dim + d]);
            for (int i = 0; i < N; i++) scores[i][r] += query[i * key_dim + d] * key;
        }
    }
    bool any = false;
    for (int i = 0; i < N; i++) any = online_softmax(rows, queries, first + i, scores[i]) || any;
    if (!any) return;
    float* output = queries.output + size_t(first) * value_dim;
    constexpr int kTile = 2;  // as many sums as fit in 16 registers of 8 floats, about
    int d = 0;
    for (; d + kTile * kLanes <= value_dim; d += kTile * kLanes) add_half_values<N, kTile>(rows, values + d, scores, end, output + d);
    if (d + kLanes <= value_dim) {
        add_half_values<N, 1>(rows, values + d, scores, end, output + d);
        d += kLanes;
    }
    for (; d < value_dim; d++)
        for (int r = rows.begin; r < end; r++)
            for (int i = 0; i < N; i++) output[i * value_dim + d] += scores[i][r] * half_to_float(values[r * stride + d]);
}

// Many queries: the page is unpacked once for all of them, keys transposed.
template <int N>
inline void attend_half_tile(const PageRows& rows, const QueryBlock& queries, int first, int end, const float* keys, const float* values) {
    const int key_dim = rows.shape.key_dim, value_dim = rows.shape.value_dim;
    alignas(64) float scores[N][kPageRows];
    float_scores<N>(keys, queries.query + size_t(first) * key_dim, key_dim, scores);
    bool any = false;
    for (int i = 0; i < N; i++) any = online_softmax(rows, queries, first + i, scores[i]) || any;
    if (any) float_sums<N>(values, scores, end, value_dim, queries.output + size_t(first) * value_dim);
}

// Calls attend(Count<N>(), first) for all queries, N at a time.
template <int N>
struct Count {
    static constexpr int value = N;
};
template <typename Attend>
inline void in_blocks(int count, const Attend& attend) {
    int i = 0;
    for (; i + kBlock <= count; i += kBlock) attend(Count<kBlock>(), i);
    switch (count - i) {
        case 3: attend(Count<3>(), i); break;
        case 2: attend(Count<2>(), i); break;
        case 1: attend(Count<1>(), i); break;
    }
}

constexpr int kFewQueries = 8;  // fewer gain less by a tile than it costs

void attend_half(const PageRows& rows, const QueryBlock& queries, void* scratch) {
    const int key_dim = rows.shape.key_dim, value_dim = rows.shape.value_dim;
    float* keys = static_cast<float*>(scratch);      // [key_dim][kPageRows]
    float* values = keys + (key_dim + kLanes - 1) / kLanes * kLanes * kPageRows;  // [kPageRows][value_dim]
    const uint16_t* key_rows = reinterpret_cast<const uint16_t*>(rows.page + rows.layout->keys);
    const uint16_t* value_rows = half_values(rows);
    const int stride = half_value_stride(rows);
    int end = rows.begin;  // of the rows that any query sees; later ones may not be written yet
    for (int i = 0; i < queries.count; i++) {
        const int seen = visible_end(rows, queries.positions[i]);
        end = seen > end ? seen : end;
    }
    if (end == rows.begin) return;
    if (queries.count <= kFewQueries)
        return in_blocks(queries.count, [&](auto n, int i) { attend_half_rows<decltype(n)::value>(rows, queries, i, end); });
    for (int d0 = 0; d0 < key_dim; d0 += kLanes) {
        for (int r0 = 0; r0 < kPageRows; r0 += kLanes) {
            alignas(64) float block[kLanes][kLanes];
            for (int r = 0; r < kLanes; r++) {
                if (r0 + r >= rows.begin && r0 + r < end) load_half(key_rows + (r0 + r) * key_dim + d0, block[r], key_dim - d0 < kLanes ? key_dim - d0 : kLanes);
                else
                    for (int d = 0; d < kLanes; d++) block[r][d] = 0.0f;
            }
            transpose16(block, keys + d0 * kPageRows + r0, kPageRows);
        }
    }
    if (queries.received == nullptr) {
        for (int r = 0; r < rows.begin; r++)
            for (int d = 0; d < value_dim; d++) values[r * value_dim + d] = 0.0f;
        for (int r = rows.begin; r < end; r++) load_half(value_rows + r * stride, values + r * value_dim, value_dim);
    }
    in_blocks(queries.count, [&](auto n, int i) { attend_half_tile<decltype(n)::value>(rows, queries, i, end, keys, values); });
}

// Part `part` of kFetchParts of the next page. All at once there would be more misses under way than a core can track.
constexpr int kFetchParts = 4;
inline void fetch_next(const PageRows& rows, int part) {
    const size_t lines = rows.next_bytes / 64;
    for (size_t line = lines * part / kFetchParts; line < lines * (part + 1) / kFetchParts; line++) __builtin_prefetch(rows.next + line * 64);
}

// A page's codes and scales. Keys and Values are made of a group's first byte; groups are so many bytes apart. Extra: room for refined rows.
template <int Rows, int Extra, typename Group, typename Keys, typename Values>
struct CodedRows {
    Group key_group, value_group;
    const uint8_t* keys;
    const uint8_t* values;
    size_t key_stride, value_stride;
    const float* key_scales;    // [group][Rows]
    const float* value_scales;  // [group][Rows + Extra]: behind a page's rows the refined ones, then zeros
    float value_step;
    int refined;
    const uint8_t* refined_rows;
    const uint8_t* refined_values;
};

// Of latent values: what was taken from them, by the sum of a query's weights. weights: `stride` apart.
template <int N, int Rows>
inline void add_centre(const PageRows& rows, const QueryBlock& queries, int first, const float* weights, int stride) {
    for (int i = 0; i < N; i++, weights += stride) {
        Lanes sum = load_lanes(weights);
        for (int r = kLanes; r < Rows; r += kLanes) sum = sum + load_lanes(weights + r);
        const Lanes weight = spread(sum_of(sum));
        float* output = queries.output + size_t(first + i) * rows.shape.value_dim;
        for (int d = 0; d < rows.shape.value_dim; d += kLanes) store_lanes(output + d, load_lanes(output + d) + load_lanes(rows.centre + d) * weight);
    }
}

template <int N, int Rows, int Extra, typename Group, typename Keys, typename Values>
inline void attend_coded_block(const PageRows& rows, const QueryBlock& queries, int first, const CodedRows<Rows, Extra, Group, Keys, Values>& page) {
    const int key_dim = rows.shape.key_dim, value_dim = rows.shape.value_dim;
    const int key_size = page.key_group.size(), value_size = page.value_group.size();
    const int key_groups = key_dim / key_size, value_groups = value_dim / value_size;
    alignas(64) float scores[N][Rows + Extra];
    for (int g = 0; g < key_groups; g++) {
        alignas(64) int32_t dots[N][Rows];
        int32_t offsets[N];
        for (int i = 0; i < N; i++) offsets[i] = -kKeyOffset * queries.code_sums[(first + i) * key_groups + g];
        key_dots<N, Rows>(page.key_group, Keys{page.keys + g * page.key_stride}, queries.codes + size_t(first) * key_dim + g * key_size, key_dim,
                          offsets, dots);
        if (first == 0 && g == 0) fetch_next(rows, 1);
        for (int i = 0; i < N; i++) {
            const Lanes scale = spread(queries.code_scales[(first + i) * key_groups + g]);
            const Lanes start = spread(queries.centre_scores[first + i]);
            for (int r = 0; r < Rows; r += kLanes) {
                const Lanes product = from_ints(dots[i] + r) * (scale * load_lanes(page.key_scales + g * Rows + r));
                store_lanes(scores[i] + r, (g == 0 ? start : load_lanes(scores[i] + r)) + product);
            }
        }
    }
    int ends[N];
    bool any = false;
    for (int i = 0; i < N; i++) {
        ends[i] = visible_end(rows, queries.positions[first + i]);
        any = online_softmax<Rows>(rows, queries, first + i, scores[i]) || any;
    }
    if (first == 0) fetch_next(rows, 2);
    if (!any) return;
    if constexpr (Extra > 0) {  // a refined row has its row's weight
        for (int i = 0; i < N; i++) {
            outside<Rows + Extra>(scores[i], 0, Rows, 0.0f);
            for (int r = 0; r < page.refined && page.refined_rows[r] != 0; r++) scores[i][Rows + r] = scores[i][page.refined_rows[r] - 1];
        }
    }
    if (rows.centre != nullptr) add_centre<N, Rows>(rows, queries, first, scores[0], Rows + Extra);
    for (int g = 0; g < value_groups; g++) {
        alignas(64) uint8_t weights[N][Rows + Extra];
        alignas(64) int32_t sums[N][Group::sums];
        float units[N];
        for (int i = 0; i < N; i++)
            units[i] = byte_weights<Rows, Extra>(scores[i], page.value_scales + g * (Rows + Extra), rows.begin, ends[i], weights[i]) *
                       page.value_step;
        value_sums<N, Rows, Extra>(page.value_group, Values{page.values + g * page.value_stride},
                                   Trellis2Values{page.refined_values + g * page.refined * value_size / 4}, page.refined, weights, sums);
        if (first == 0 && g == 0) fetch_next(rows, 3);
        for (int i = 0; i < N; i++) {
            float* output = queries.output + size_t(first + i) * value_dim + g * value_size;
            int d = 0;
            for (; d + kLanes <= value_size; d += kLanes)
                store_lanes(output + d, load_lanes(output + d) + from_ints(sums[i] + d) * spread(units[i]));
            for (; d < value_size; d++) output[d] += float(sums[i][d]) * units[i];
        }
    }
}

// Expand: unpacks the codes once for all where many queries come.
template <int Rows, int Extra, typename Keys, typename Values, bool Expand, typename Group>
inline void attend_coded_groups(Group key_group, Group value_group, const PageRows& rows, const QueryBlock& queries, void* scratch, float value_step) {
    const int key_size = key_group.size(), value_size = value_group.size();
    const int key_groups = rows.shape.key_dim / key_size, value_groups = rows.shape.value_dim / value_size;
    const FormatInfo& info = format_info(rows.format);
    const PageLayout& layout = *rows.layout;
    const auto scales = [&](size_t offset) { return reinterpret_cast<const uint16_t*>(rows.page + offset); };
    float* key_scales = static_cast<float*>(scratch);
    float* value_scales = key_scales + key_groups * Rows;
    load_half(scales(layout.key_scales), key_scales, key_groups * Rows);
    if constexpr (Extra == 0) {
        load_half(scales(layout.value_scales), value_scales, value_groups * Rows);
    } else {
        for (int g = 0; g < value_groups; g++) {
            float* target = value_scales + g * (Rows + Extra);
            load_half(scales(layout.value_scales) + g * Rows, target, Rows);
            outside<Rows + Extra>(target, 0, Rows, 0.0f);
            for (int r = 0; r < info.refined; r++) target[Rows + r] = half_to_float(scales(layout.refined_scales)[g * info.refined + r]);
        }
    }
    const size_t key_stride = size_t(Rows) * key_group_bytes(info.key_bits, key_size), value_stride = size_t(Rows) * value_size * info.value_bits / 8;
    const uint8_t *refined_rows = rows.page + layout.refined_rows, *refined_values = rows.page + layout.refined_values;
    const CodedRows<Rows, Extra, Group, Keys, Values> page{key_group, value_group, rows.page + layout.keys, rows.page + layout.values, key_stride,
                                                           value_stride, key_scales, value_scales, value_step, info.refined, refined_rows,
                                                           refined_values};
    if constexpr (Expand) {
        if (queries.count > kBlock) {
            uint8_t* key_bytes = reinterpret_cast<uint8_t*>(value_scales + value_groups * (Rows + Extra));
            uint8_t* value_bytes = key_bytes + rows.shape.key_dim * Rows;
            for (int g = 0; g < key_groups; g++) expand_keys(key_group, Keys{page.keys + g * key_stride}, key_bytes + g * key_size * Rows);
            for (int g = 0; g < value_groups && queries.received == nullptr; g++)
                expand_values(value_group, Values{page.values + g * value_stride}, value_bytes + g * value_size * Rows);
            const CodedRows<Rows, Extra, Group, KeyBytes<Rows>, ValueBytes> expanded{
                key_group, value_group, key_bytes, value_bytes, size_t(key_size * Rows), size_t(value_size * Rows), key_scales, value_scales,
                value_step, info.refined, refined_rows, refined_values};
            return in_blocks(queries.count, [&](auto n, int i) { attend_coded_block<decltype(n)::value>(rows, queries, i, expanded); });
        }
    }
    in_blocks(queries.count, [&](auto n, int i) { attend_coded_block<decltype(n)::value>(rows, queries, i, page); });
}

template <int Rows, int Extra, typename Keys, typename Values, bool Expand = true>
inline void attend_coded_page(const PageRows& rows, const QueryBlock& queries, void* scratch, float value_step) {
    const int key_group = rows.layout->key_group, value_group = rows.layout->value_group;
    if (key_group == kGroup && value_group == kGroup)
        attend_coded_groups<Rows, Extra, Keys, Values, Expand>(GroupOf64(), GroupOf64(), rows, queries, scratch, value_step);
    else
        attend_coded_groups<Rows, Extra, Keys, Values, Expand>(GroupOfSome{key_group}, GroupOfSome{value_group}, rows, queries, scratch, value_step);
}

typedef int8_t Bytes16 __attribute__((vector_size(16), aligned(1), may_alias));

// A group's bytes [dim / 4][row][4] to [row / 4][dim][row % 4].
template <int Rows, bool Halved>
inline void turn_bytes(const uint8_t* from, uint8_t* to) {
    const Bytes16 order = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
    for (int quad = 0; quad < Rows / 4; quad++) {
        for (int d = 0; d < kGroup; d += 4) {
            Bytes16 x = *reinterpret_cast<const Bytes16*>(from + (d * Rows + quad * 16));
            if constexpr (Halved) {  // half_code()
                x ^= int8_t(-kKeyOffset);
                x = (x >> 1) + (x & x >> 1 & 1);
            }
            *reinterpret_cast<Bytes16*>(to + (quad * kGroup + d) * 4) = __builtin_shuffle(x, order);
        }
    }
}

// Where values are the first elements of the keys: unpacked twice, with two tables of code points. 8 bits need no unpacking of keys.
struct NoKeys {};
template <int Rows, typename Keys = NoKeys, typename KeysAsValues = NoKeys>
inline void attend_latent_page(const PageRows& rows, const QueryBlock& queries, void* scratch, float value_step) {
    constexpr GroupOf64 group;
    constexpr bool bytes = __is_same(Keys, NoKeys);
    const int key_groups = rows.shape.key_dim / kGroup, value_groups = rows.shape.value_dim / kGroup;
    const FormatInfo& info = format_info(rows.format);
    const size_t stride = size_t(Rows) * key_group_bytes(info.key_bits, kGroup), unpacked = size_t(Rows) * kGroup;
    const uint8_t* keys = rows.page + rows.layout->keys;
    float* scales = static_cast<float*>(scratch);
    load_half(reinterpret_cast<const uint16_t*>(rows.page + rows.layout->key_scales), scales, key_groups * Rows);
    uint8_t* value_bytes = reinterpret_cast<uint8_t*>(scales + key_groups * Rows);
    uint8_t* key_bytes = value_bytes + value_groups * unpacked;
    uint8_t* turned = key_bytes + key_groups * unpacked;
    for (int g = 0; g < value_groups && queries.received == nullptr; g++) {
        if constexpr (bytes) {
            turn_bytes<Rows, true>(keys + g * stride, value_bytes + g * unpacked);
        } else {
            expand_keys(group, KeysAsValues{keys + g * stride}, turned);
            turn_bytes<Rows, false>(turned, value_bytes + g * unpacked);
        }
    }
    if constexpr (!bytes)
        for (int g = 0; g < key_groups; g++) expand_keys(group, Keys{keys + g * stride}, key_bytes + g * unpacked);
    const CodedRows<Rows, 0, GroupOf64, KeyBytes<Rows>, ValueBytes> page{group, group, bytes ? keys : key_bytes, value_bytes, unpacked, unpacked, scales,
                                                                         scales, value_step, 0, nullptr, nullptr};
    in_blocks(queries.count, [&](auto n, int i) { attend_coded_block<decltype(n)::value>(rows, queries, i, page); });
}

void attend_latent(const PageRows& rows, const QueryBlock& queries, void* scratch) {
    switch (format_info(rows.format).keys) {
        case KeyCoding::none: break;
        case KeyCoding::lloyd4: return attend_latent_page<kPageRows, Lloyd4Keys, Lloyd4KeysAsValues>(rows, queries, scratch, kValueStep4);
        case KeyCoding::lloyd3: return attend_latent_page<kPageRows, Lloyd3Keys, Lloyd3KeysAsValues>(rows, queries, scratch, kValueStep4);
        case KeyCoding::linear8:
            if (rows.rows == kWindowPageRows) return attend_latent_page<kWindowPageRows>(rows, queries, scratch, 2 * kKeyStep);
            return attend_latent_page<kPageRows>(rows, queries, scratch, 2 * kKeyStep);
    }
}

void attend_coded(const PageRows& rows, const QueryBlock& queries, void* scratch) {
    fetch_next(rows, 0);
    if (rows.shape.latent) return attend_latent(rows, queries, scratch);
    switch (rows.format) {
        case Format::f16: break;
        case Format::k4v4: return attend_coded_page<kPageRows, 0, Lloyd4Keys, Lloyd4Values>(rows, queries, scratch, kValueStep4);
        case Format::k4v2: return attend_coded_page<kPageRows, 0, Lloyd4Keys, Trellis2Values>(rows, queries, scratch, kValueStep2);
        case Format::k4v2r6:
        case Format::k4v2r14: return attend_coded_page<kPageRows, kMostRefined, Lloyd4Keys, Trellis2Values>(rows, queries, scratch, kValueStep2);
        case Format::k3v2: return attend_coded_page<kPageRows, 0, Lloyd3Keys, Trellis2Values>(rows, queries, scratch, kValueStep2);
        case Format::k3v2r6:
        case Format::k3v2r14: return attend_coded_page<kPageRows, kMostRefined, Lloyd3Keys, Trellis2Values>(rows, queries, scratch, kValueStep2);
        case Format::k8v8:
            if (rows.rows == kWindowPageRows)
                return attend_coded_page<kWindowPageRows, 0, KeyBytes<kWindowPageRows>, ValueBytes, false>(rows, queries, scratch, 1.0f);
            return attend_coded_page<kPageRows, 0, KeyBytes<kPageRows>, ValueBytes, false>(rows, queries, scratch, 1.0f);
    }
}

}  // namespace
