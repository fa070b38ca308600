// What every instruction set shares, compiled once for each with that set's flags. A file that includes this defines
// `namespace { … }` functions first: store_half, load_half, transpose16, expand_keys, expand_values, key_dots<N>, value_sums<N>,
// float_scores<N>, float_sums<N>. Loops over kLanes are written so that the compiler turns them into vectors; sums go lane by lane and
// then in one order, so that all sets round alike. No std:: templates: the linker would keep one set's copy for all.

namespace {

constexpr int kLanes = 16;
constexpr int kBlock = 4;  // queries that share the loads of a page
constexpr float kMinusInfinity = -__builtin_inff();

template <int N>
inline float lane_sum(const float* values) {
    float lanes[kLanes] = {0};
    for (int i = 0; i < N; i += kLanes)
        for (int l = 0; l < kLanes; l++) lanes[l] += values[i + l];
    for (int width = kLanes / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++) lanes[l] += lanes[l + width];
    return lanes[0];
}

template <int N>
inline float lane_dot(const float* a, const float* b) {
    float products[N];
    for (int i = 0; i < N; i++) products[i] = a[i] * b[i];
    return lane_sum<N>(products);
}

template <int N>
inline float lane_max(const float* values) {
    float lanes[kLanes];
    for (int l = 0; l < kLanes; l++) lanes[l] = values[l];
    for (int i = kLanes; i < N; i += kLanes)
        for (int l = 0; l < kLanes; l++) lanes[l] = values[i + l] > lanes[l] ? values[i + l] : lanes[l];
    for (int width = kLanes / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++) lanes[l] = lanes[l + width] > lanes[l] ? lanes[l + width] : lanes[l];
    return lanes[0];
}

// exp(x) for x <= 0, relative error below 2e-7; x below -87 gives about 1e-38. Polynomial of the Cephes library (expf).
inline void exp_rows(float* values) {
    for (int i = 0; i < kPageRows; i++) {
        float x = values[i] > -87.0f ? values[i] : -87.0f;
        const float n = (x * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
        x = x - n * 0.693359375f;
        x = x - n * -2.12194440e-4f;
        float p = 1.9875691500e-4f;
        p = p * x + 1.3981999507e-3f;
        p = p * x + 8.3334519073e-3f;
        p = p * x + 4.1665795894e-2f;
        p = p * x + 1.6666665459e-1f;
        p = p * x + 5.0000001201e-1f;
        p = p * x * x + x + 1.0f;
        union {
            int32_t bits;
            float value;
        } power;
        power.bits = (int32_t(n) + 127) << 23;
        values[i] = p * power.value;
    }
}

inline float exp_one(float x) {
    float values[kPageRows];
    for (int i = 0; i < kPageRows; i++) values[i] = x;
    exp_rows(values);
    return values[0];
}

// One step of the transform inside kLanes elements.
template <int Width>
inline void butterfly_lanes(float* x) {
    float y[kLanes];
    for (int l = 0; l < kLanes; l++) y[l] = l & Width ? x[l ^ Width] - x[l] : x[l] + x[l ^ Width];
    for (int l = 0; l < kLanes; l++) x[l] = y[l];
}

void rotate(float* rows, int count, int dim, int block) {
    const float norm = 1.0f / __builtin_sqrtf(float(block));
    for (float* x = rows; x < rows + size_t(count) * dim; x += block) {
        for (int i = 0; i < block; i += kLanes) {
            butterfly_lanes<1>(x + i);
            butterfly_lanes<2>(x + i);
            butterfly_lanes<4>(x + i);
            butterfly_lanes<8>(x + i);
        }
        for (int width = kLanes; width < block; width *= 2) {
            for (int i = 0; i < block; i += 2 * width) {
                for (int j = i; j < i + width; j++) {
                    const float a = x[j], b = x[j + width];
                    x[j] = a + b;
                    x[j + width] = a - b;
                }
            }
        }
        for (int i = 0; i < block; i++) x[i] *= norm;
    }
}

// ---- packing

struct Boundaries {
    float at[15];
    constexpr Boundaries() : at{} {
        for (int i = 0; i < 15; i++) at[i] = 0.5f * (kLloydMax16[i] + kLloydMax16[i + 1]);
    }
};
constexpr Boundaries kBoundaries;

inline float root_mean_square(const float* x) {
    return __builtin_sqrtf(lane_dot<kGroup>(x, x) / kGroup);
}

// The scale of code points at unit variance: <x,x> / <x,c>.
inline uint16_t projection_scale(const float* x, const float* points) {
    const float energy = lane_dot<kGroup>(x, x);
    const float projection = lane_dot<kGroup>(x, points);
    return float_to_half(projection > 0 && energy > 0 ? energy / projection : 0.0f);
}

inline void lloyd_max_codes(const float* x, const int8_t* code_points, float step, uint8_t* codes, uint16_t* scale) {
    const float rms = root_mean_square(x);
    const float inverse = rms > 0 ? 1.0f / rms : 0.0f;
    int counts[kGroup] = {0};
    for (int b = 0; b < 15; b++)
        for (int i = 0; i < kGroup; i++) counts[i] += x[i] * inverse > kBoundaries.at[b];
    float points[kGroup];
    for (int i = 0; i < kGroup; i++) {
        codes[i] = uint8_t(counts[i]);
        points[i] = code_points[counts[i]] * step;
    }
    *scale = projection_scale(x, points);
}

void pack_keys(const float* rows, int count, int dim, const float* centre, int first, uint8_t* codes, uint16_t* scales) {
    for (int r = 0; r < count; r++) {
        for (int g = 0; g < dim / kGroup; g++) {
            float x[kGroup];
            for (int i = 0; i < kGroup; i++) x[i] = rows[r * dim + g * kGroup + i] - centre[g * kGroup + i];
            uint8_t row[kGroup];
            lloyd_max_codes(x, kKeyCodes.at, kKeyStep, row, &scales[g * kPageRows + first + r]);
            for (int i = 0; i < kGroup / 8; i++)
                for (int c = 0; c < 4; c++)
                    codes[((g * kGroup / 8 + i) * kPageRows + first + r) * 4 + c] =
                        uint8_t(row[8 * i + c] | row[8 * i + 4 + c] << 4);
        }
    }
}

// Byte `j` of a row's group in the value layout: rows of a group of four lie side by side.
inline size_t value_offset(int group, int row, int j, int bytes_a_row) {
    return size_t(group) * kPageRows * bytes_a_row + size_t(row / 4) * bytes_a_row * 4 + j * 4 + row % 4;
}

void pack_values_lloyd(const float* rows, int count, int dim, int first, uint8_t* codes, uint16_t* scales) {
    for (int r = 0; r < count; r++) {
        for (int g = 0; g < dim / kGroup; g++) {
            uint8_t row[kGroup];
            lloyd_max_codes(rows + r * dim + g * kGroup, kValueCodes4.at, kValueStep4, row, &scales[g * kPageRows + first + r]);
            for (int j = 0; j < 32; j++) codes[value_offset(g, first + r, j, 32)] = uint8_t(row[j] | row[j + 32] << 4);
        }
    }
}

// Viterbi search (Forney 1973) over the 4-state trellis, kLanes rows at a time; element `t` of the trellis is dim
// t / 4 + 16 (t % 4) of its group, the order of the packed bytes.
void trellis_symbols(const float (*steps)[kLanes], uint8_t (*symbols)[kLanes]) {
    float cost[4][kLanes];
    uint8_t back[kGroup][4][kLanes];
    for (int s = 0; s < 4; s++)
        for (int l = 0; l < kLanes; l++) cost[s][l] = s == 0 ? 0.0f : 1e30f;
    for (int t = 0; t < kGroup; t++) {
        float next[4][kLanes];
        for (int s = 0; s < 4; s++) {
            float best[kLanes];
            int32_t from[kLanes];
            for (int l = 0; l < kLanes; l++) {
                const float d = steps[t][l] - kValueCodes2.at[s] * kValueStep2;
                best[l] = cost[0][l] + d * d;
                from[l] = 0;
            }
            for (int p = 1; p < 4; p++) {
                const float point = kValueCodes2.at[4 * p + s] * kValueStep2;
                for (int l = 0; l < kLanes; l++) {
                    const float d = steps[t][l] - point;
                    const float total = cost[p][l] + d * d;
                    from[l] = total < best[l] ? p : from[l];
                    best[l] = total < best[l] ? total : best[l];
                }
            }
            for (int l = 0; l < kLanes; l++) {
                next[s][l] = best[l];
                back[t][s][l] = uint8_t(from[l]);
            }
        }
        for (int s = 0; s < 4; s++)
            for (int l = 0; l < kLanes; l++) cost[s][l] = next[s][l];
    }
    for (int l = 0; l < kLanes; l++) {
        int state = 0;
        for (int s = 1; s < 4; s++)
            if (cost[s][l] < cost[state][l]) state = s;
        for (int t = kGroup - 1; t >= 0; t--) {
            symbols[t][l] = uint8_t(state);
            state = back[t][state][l];
        }
    }
}

void pack_values_trellis(const float* rows, int count, int dim, int first, uint8_t* codes, uint16_t* scales) {
    for (int g = 0; g < dim / kGroup; g++) {
        for (int r0 = 0; r0 < count; r0 += kLanes) {
            const int lanes = count - r0 < kLanes ? count - r0 : kLanes;
            float steps[kGroup][kLanes];
            for (int l = 0; l < kLanes; l++) {
                const float* x = rows + (r0 + (l < lanes ? l : 0)) * dim + g * kGroup;
                const float rms = root_mean_square(x);
                const float inverse = rms > 0 ? 1.0f / rms : 0.0f;
                for (int t = 0; t < kGroup; t++) steps[t][l] = x[t / 4 + 16 * (t % 4)] * inverse;
            }
            uint8_t symbols[kGroup][kLanes];
            trellis_symbols(steps, symbols);
            for (int l = 0; l < lanes; l++) {
                const float* x = rows + (r0 + l) * dim + g * kGroup;
                const int row = first + r0 + l;
                float points[kGroup];
                int previous = 0;
                for (int t = 0; t < kGroup; t++) {
                    points[t / 4 + 16 * (t % 4)] = kValueCodes2.at[4 * previous + symbols[t][l]] * kValueStep2;
                    previous = symbols[t][l];
                }
                scales[g * kPageRows + row] = projection_scale(x, points);
                for (int j = 0; j < 16; j++)
                    codes[value_offset(g, row, j, 16)] =
                        uint8_t(symbols[4 * j][l] << 6 | symbols[4 * j + 1][l] << 4 | symbols[4 * j + 2][l] << 2 | symbols[4 * j + 3][l]);
            }
        }
    }
}

void pack_values(ValueCoding coding, const float* rows, int count, int dim, int first, uint8_t* codes, uint16_t* scales) {
    if (coding == ValueCoding::trellis2) pack_values_trellis(rows, count, dim, first, codes, scales);
    else pack_values_lloyd(rows, count, dim, first, codes, scales);
}

void quantize_queries(const float* query, int count, int dim, int8_t* codes, float* scales, int32_t* sums) {
    for (int i = 0; i < count * (dim / kGroup); i++) {
        const float* x = query + i * kGroup;
        float magnitudes[kGroup];
        for (int e = 0; e < kGroup; e++) magnitudes[e] = x[e] < 0 ? -x[e] : x[e];
        const float largest = lane_max<kGroup>(magnitudes);
        const bool usable = largest > 0 && largest < __builtin_inff();
        const float inverse = usable ? kQueryMax / largest : 0.0f;
        int32_t sum = 0;
        for (int e = 0; e < kGroup; e++) {
            const float rounded = (x[e] * inverse + 12582912.0f) - 12582912.0f;
            const int32_t code = usable && rounded >= -kQueryMax && rounded <= kQueryMax ? int32_t(rounded) : 0;  // NaN is 0
            codes[i * kGroup + e] = int8_t(code);
            sum += code;
        }
        sums[i] = sum;
        scales[i] = usable ? largest / kQueryMax * kKeyStep : 0.0f;
    }
}

// ---- attention

// Rows [0, visible) of the page that a query may see, given those of the reference.
inline int visible_end(const PageRows& rows, int32_t position) {
    const int32_t seen = position - rows.position + 1;
    return rows.begin + (seen < 0 ? 0 : seen < rows.count ? seen : rows.count);
}

// Scores of a page to weights exp(score - new maximum), 0 for rows outside. Updates the query's maximum and sum and
// scales its output down; false if no row is visible.
inline bool online_softmax(const PageRows& rows, const QueryBlock& queries, int i, float* scores) {
    const int end = visible_end(rows, queries.positions[i]);
    if (end <= rows.begin) return false;
    if (queries.soft_cap != 0) {
        for (int r = rows.begin; r < end; r++) scores[r] = queries.soft_cap * __builtin_tanhf(scores[r] / queries.soft_cap);
    }
    if (queries.slopes[i] != 0) {
        for (int r = rows.begin; r < end; r++)
            scores[r] -= queries.slopes[i] * float(queries.positions[i] - (rows.position + r - rows.begin));
    }
    for (int r = 0; r < kPageRows; r++) scores[r] = r >= rows.begin && r < end ? scores[r] : kMinusInfinity;
    const float highest = lane_max<kPageRows>(scores);
    const float before = queries.maxima[i];
    const float maximum = highest > before ? highest : before;
    if (!(maximum > kMinusInfinity)) return false;
    for (int r = 0; r < kPageRows; r++) scores[r] -= maximum;
    exp_rows(scores);
    for (int r = 0; r < kPageRows; r++) scores[r] = r >= rows.begin && r < end ? scores[r] : 0.0f;
    if (maximum > before) {
        const float factor = before > kMinusInfinity ? exp_one(before - maximum) : 0.0f;
        queries.maxima[i] = maximum;
        queries.sums[i] *= factor;
        float* output = queries.output + size_t(i) * rows.shape.value_dim;
        for (int d = 0; d < rows.shape.value_dim; d++) output[d] *= factor;
    }
    queries.sums[i] += lane_sum<kPageRows>(scores);
    return true;
}

template <int N>
inline void attend_half_block(const PageRows& rows, const QueryBlock& queries, int first, int end, const float* keys,
                              const float* values) {
    const int key_dim = rows.shape.key_dim, value_dim = rows.shape.value_dim;
    alignas(64) float scores[N][kPageRows];
    float_scores<N>(keys, queries.query + size_t(first) * key_dim, key_dim, scores);
    bool any = false;
    for (int i = 0; i < N; i++) {
        if (online_softmax(rows, queries, first + i, scores[i])) any = true;
        else
            for (int r = 0; r < kPageRows; r++) scores[i][r] = 0.0f;
    }
    if (any) float_sums<N>(values, scores, end, value_dim, queries.output + size_t(first) * value_dim);
}

void attend_half(const PageRows& rows, const QueryBlock& queries, void* scratch) {
    const int key_dim = rows.shape.key_dim, value_dim = rows.shape.value_dim;
    float* keys = static_cast<float*>(scratch);      // [key_dim][kPageRows]
    float* values = keys + key_dim * kPageRows;      // [kPageRows][value_dim]
    const uint16_t* key_rows = reinterpret_cast<const uint16_t*>(rows.page + rows.layout->keys);
    const uint16_t* value_rows = reinterpret_cast<const uint16_t*>(rows.page + rows.layout->values);
    int end = rows.begin;  // of the rows that any query sees; later ones may not be written yet
    for (int i = 0; i < queries.count; i++) {
        const int seen = visible_end(rows, queries.positions[i]);
        end = seen > end ? seen : end;
    }
    if (end == rows.begin) return;
    for (int d0 = 0; d0 < key_dim; d0 += kLanes) {
        for (int r0 = 0; r0 < kPageRows; r0 += kLanes) {
            alignas(64) float block[kLanes][kLanes];
            for (int r = 0; r < kLanes; r++) {
                if (r0 + r >= rows.begin && r0 + r < end) load_half(key_rows + (r0 + r) * key_dim + d0, block[r], kLanes);
                else
                    for (int d = 0; d < kLanes; d++) block[r][d] = 0.0f;
            }
            transpose16(block, keys + d0 * kPageRows + r0, kPageRows);
        }
    }
    for (int r = 0; r < rows.begin; r++)
        for (int d = 0; d < value_dim; d++) values[r * value_dim + d] = 0.0f;
    for (int r = rows.begin; r < end; r++) load_half(value_rows + r * value_dim, values + r * value_dim, value_dim);
    int i = 0;
    for (; i + kBlock <= queries.count; i += kBlock) attend_half_block<kBlock>(rows, queries, i, end, keys, values);
    switch (queries.count - i) {
        case 3: attend_half_block<3>(rows, queries, i, end, keys, values); break;
        case 2: attend_half_block<2>(rows, queries, i, end, keys, values); break;
        case 1: attend_half_block<1>(rows, queries, i, end, keys, values); break;
    }
}

template <int N>
inline void attend_packed_block(const PageRows& rows, const QueryBlock& queries, int first, const uint8_t* keys, const int8_t* values,
                                const float* key_scales, const float* value_scales, float value_step) {
    const int key_dim = rows.shape.key_dim, value_dim = rows.shape.value_dim;
    const int key_groups = rows.shape.key_groups();
    alignas(64) float scores[N][kPageRows];
    for (int g = 0; g < key_groups; g++) {
        alignas(64) int32_t dots[N][kPageRows];
        key_dots<N>(keys + g * kGroup * kPageRows, queries.codes + size_t(first) * key_dim + g * kGroup, key_dim, dots);
        for (int i = 0; i < N; i++) {
            const int at = (first + i) * key_groups + g;
            const int32_t offset = kKeyOffset * queries.code_sums[at];
            const float scale = queries.code_scales[at];
            const float start = queries.centre_scores[first + i];
            const float* row_scales = key_scales + g * kPageRows;
            if (g == 0)
                for (int r = 0; r < kPageRows; r++) scores[i][r] = start + float(dots[i][r] - offset) * (scale * row_scales[r]);
            else
                for (int r = 0; r < kPageRows; r++) scores[i][r] += float(dots[i][r] - offset) * (scale * row_scales[r]);
        }
    }
    bool visible[N];
    for (int i = 0; i < N; i++) visible[i] = online_softmax(rows, queries, first + i, scores[i]);
    for (int g = 0; g < rows.shape.value_groups(); g++) {
        alignas(64) uint8_t weights[N][kPageRows];
        float units[N];
        const float* row_scales = value_scales + g * kPageRows;
        for (int i = 0; i < N; i++) {
            float scaled[kPageRows];
            for (int r = 0; r < kPageRows; r++) scaled[r] = visible[i] && scores[i][r] > 0 ? scores[i][r] * row_scales[r] : 0.0f;
            const float largest = lane_max<kPageRows>(scaled);
            const float inverse = largest > 1e-30f ? kWeightMax / largest : 0.0f;
            for (int r = 0; r < kPageRows; r++) weights[i][r] = uint8_t(int32_t(scaled[r] * inverse + 0.5f));
            units[i] = inverse > 0 ? largest / kWeightMax * value_step : 0.0f;
        }
        alignas(64) int32_t sums[N][kGroup];
        value_sums<N>(values + g * kGroup * kPageRows, weights, sums);
        for (int i = 0; i < N; i++) {
            float* output = queries.output + size_t(first + i) * value_dim + g * kGroup;
            for (int d = 0; d < kGroup; d++) output[d] += float(sums[i][d]) * units[i];
        }
    }
}

void attend_packed(const PageRows& rows, const QueryBlock& queries, void* scratch) {
    const int key_dim = rows.shape.key_dim, value_dim = rows.shape.value_dim;
    uint8_t* keys = static_cast<uint8_t*>(scratch);                                  // [key_dim / 4][kPageRows][4]
    int8_t* values = reinterpret_cast<int8_t*>(keys + key_dim * kPageRows);          // [group][kPageRows / 4][kGroup][4]
    float* key_scales = reinterpret_cast<float*>(values + value_dim * kPageRows);    // [group][kPageRows]
    float* value_scales = key_scales + rows.shape.key_groups() * kPageRows;          // [group][kPageRows]
    const uint8_t* page = rows.page;
    const PageLayout& layout = *rows.layout;
    expand_keys(page + layout.keys, key_dim, keys);
    expand_values(rows.values, page + layout.values, rows.shape.value_groups(), values);
    load_half(reinterpret_cast<const uint16_t*>(page + layout.key_scales), key_scales, rows.shape.key_groups() * kPageRows);
    load_half(reinterpret_cast<const uint16_t*>(page + layout.value_scales), value_scales, rows.shape.value_groups() * kPageRows);
    const float value_step = rows.values == ValueCoding::trellis2 ? kValueStep2 : kValueStep4;
    int i = 0;
    for (; i + kBlock <= queries.count; i += kBlock)
        attend_packed_block<kBlock>(rows, queries, i, keys, values, key_scales, value_scales, value_step);
    switch (queries.count - i) {
        case 3: attend_packed_block<3>(rows, queries, i, keys, values, key_scales, value_scales, value_step); break;
        case 2: attend_packed_block<2>(rows, queries, i, keys, values, key_scales, value_scales, value_step); break;
        case 1: attend_packed_block<1>(rows, queries, i, keys, values, key_scales, value_scales, value_step); break;
    }
}

}  // namespace
