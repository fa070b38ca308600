#include "codec.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "format/codebook.h"
#include "format/half.h"

namespace deltastore {

// Elements [0, read) of rows.
static void read_half_rows(const uint8_t* source, int dim, int read, int first, int count, float* target) {
    const uint16_t* halves = reinterpret_cast<const uint16_t*>(source) + size_t(first) * dim;
    for (int r = 0; r < count; r++)
        for (int d = 0; d < read; d++) target[r * read + d] = half_to_float(halves[r * dim + d]);
}

static int code4(const uint8_t* codes, int row, int d) {
    const uint8_t byte = codes[(d / 8 * kPageRows + row) * 4 + d % 4];
    return d % 8 < 4 ? byte & 15 : byte >> 4;
}

static int code3(const uint8_t* codes, int row, int d) {
    const auto byte = [&](int j) { return codes[((d / 32 * 3 + j) * kPageRows + row) * 4 + d % 4]; };
    const int nibble = d % 8 < 4 ? 0 : 4;
    if (d % 32 < 24) return byte(d % 32 / 8) >> nibble & 7;
    int code = 0;
    for (int j = 0; j < 3; j++) code |= (byte(j) >> (nibble + 3) & 1) << j;
    return code;
}

// As keys, or as the values that attention takes them for.
struct KeyPoints {
    const Codes16 &four, &three;
    bool halved;  // those of 8 bits
    float step, linear_step;
};
static constexpr KeyPoints kAsKeys{kKeyCodes4, kKeyCodes3, false, kKeyStep, kKeyStep};
static constexpr KeyPoints kAsValues{kValueCodes4, kValueCodes3, true, kValueStep4, 2 * kKeyStep};

// Elements [0, read) of keys, which are whole groups.
static void read_coded_keys(const KeyPoints& points, KeyCoding coding, const uint8_t* codes, const uint16_t* scales, int page_rows, int dim, int read,
                            const float* centre, int first, int count, float* keys) {
    const float step = coding == KeyCoding::linear8 ? points.linear_step : points.step;
    const int group = group_of(dim), in_thirds = coding == KeyCoding::lloyd3 ? group / 32 * 32 : 0;
    const size_t bytes = size_t(page_rows) * key_group_bytes(coding == KeyCoding::linear8 ? 8 : coding == KeyCoding::lloyd3 ? 3 : 4, group);
    const size_t behind_thirds = size_t(key_group_bytes(3, in_thirds)) * kPageRows;
    for (int r = 0; r < count; r++) {
        const int row = first + r;
        for (int g = 0; g < read / group; g++) {
            const uint8_t* from = codes + g * bytes;
            const float scale = half_to_float(scales[g * page_rows + row]) * step;
            const float* centre_of_group = centre ? centre + g * group : nullptr;
            float* target = keys + r * read + g * group;
            for (int e = 0; e < group; e++) {
                const auto linear = [&] {
                    const int code = from[(e / 4 * page_rows + row) * 4 + e % 4] - kKeyOffset;
                    return points.halved ? half_code(code) : code;
                };
                const int point = coding == KeyCoding::linear8 ? linear()
                                  : e < in_thirds ? points.three.at[code3(from, row, e)]
                                                  : points.four.at[code4(from + behind_thirds, row, e - in_thirds)];
                target[e] = point * scale + (centre_of_group ? centre_of_group[e] : 0.0f);
            }
        }
    }
}

// A row's trellis, of which a byte and the next are `abreast` apart.
static void read_trellis(const uint8_t* codes, int abreast, int group, float scale, float* target) {
    int state = 0;
    for (int t = 0; t < group; t++) {
        const int symbol = codes[t / 4 * abreast] >> (6 - 2 * (t % 4)) & 3;
        target[t / 4 + group / 4 * (t % 4)] = kValueCodes2.at[4 * state + symbol] * kValueStep2 * scale;
        state = symbol;
    }
}

static void read_coded_values(ValueCoding coding, const uint8_t* codes, const uint16_t* scales, int page_rows, int dim, int first, int count,
                              float* values) {
    const int group = group_of(dim), half = group / 2;
    for (int r = 0; r < count; r++) {
        const int row = first + r;
        for (int g = 0; g < dim / group; g++) {
            float* target = values + r * dim + g * group;
            const float scale = half_to_float(scales[g * page_rows + row]);
            const auto first_byte = [&](int row_bytes) { return codes + (g * page_rows + row / 4 * 4) * row_bytes + row % 4; };
            if (coding == ValueCoding::linear7) {
                for (int d = 0; d < group; d++) target[d] = int8_t(first_byte(group)[4 * d]) * scale;
            } else if (coding == ValueCoding::lloyd4) {
                for (int j = 0; j < half; j++) {
                    target[j] = kValueCodes4.at[first_byte(half)[4 * j] & 15] * kValueStep4 * scale;
                    target[j + half] = kValueCodes4.at[first_byte(half)[4 * j] >> 4] * kValueStep4 * scale;
                }
            } else {
                read_trellis(first_byte(group / 4), 4, group, scale, target);
            }
        }
    }
}

static int refined_bytes(const PageLayout& layout) { return layout.value_group / 4; }  // of a group

// Where a refined row's codes of a group begin, and how far its bytes are apart.
static std::pair<size_t, int> refined_codes(const PageLayout& layout, int group, int index) {
    const size_t bytes = refined_bytes(layout);
    const size_t begin = layout.refined_values + group * layout.refined * bytes + index / 4 * 4 * bytes + index % 4;
    return {begin, index < layout.refined - 2 ? 4 : 2};
}

static size_t refined_scale(const PageLayout& layout, int group, int index) {
    return layout.refined_scales + (size_t(group) * layout.refined + index) * sizeof(uint16_t);
}

static void add_refined(const uint8_t* page, const PageLayout& layout, const HeadShape& shape, int first, int count, float* values) {
    const int size = layout.value_group;
    for (int i = 0; i < layout.refined; i++) {
        const int row = page[layout.refined_rows + i] - 1 - first;
        if (row < 0 || row >= count) continue;
        for (int g = 0; g < shape.value_groups(); g++) {
            float difference[kMostGroup];
            const auto [codes, abreast] = refined_codes(layout, g, i);
            const float scale = half_to_float(*reinterpret_cast<const uint16_t*>(page + refined_scale(layout, g, i)));
            read_trellis(page + codes, abreast, size, scale, difference);
            for (int d = 0; d < size; d++) values[row * shape.value_dim + g * size + d] += difference[d];
        }
    }
}

void read_rows(const uint8_t* page, const PageLayout& layout, Format format, const HeadShape& shape, const float* centre, int first,
               int count, float* keys, float* values) {
    const FormatInfo& info = format_info(format);
    if (!info.coded) {
        if (keys) read_half_rows(page + layout.keys, shape.key_dim, shape.key_dim, first, count, keys);
        if (values) read_half_rows(page + (shape.latent ? layout.keys : layout.values), shape.latent ? shape.key_dim : shape.value_dim, shape.value_dim, first, count, values);
        return;
    }
    const auto scales = [&](size_t offset) { return reinterpret_cast<const uint16_t*>(page + offset); };
    const auto read_keys = [&](const KeyPoints& points, int read, float* target) {
        read_coded_keys(points, info.keys, page + layout.keys, scales(layout.key_scales), layout.rows, shape.key_dim, read, centre, first, count, target);
    };
    if (keys) read_keys(kAsKeys, shape.key_dim, keys);
    if (values == nullptr) return;
    if (shape.latent) return read_keys(kAsValues, shape.value_dim, values);
    read_coded_values(info.values, page + layout.values, scales(layout.value_scales), layout.rows, shape.value_dim, first, count, values);
    add_refined(page, layout, shape, first, count, values);
}

void write_keys(const Kernels& kernels, uint8_t* page, const PageLayout& layout, Format format, const HeadShape& shape,
                const float* centre, int first, int count, const float* keys) {
    uint16_t* halves = reinterpret_cast<uint16_t*>(page + layout.keys);
    if (!format_info(format).coded) kernels.store_half(keys, halves + size_t(first) * shape.key_dim, count * shape.key_dim);
    else
        kernels.pack_keys(format_info(format).keys, keys, count, shape.key_dim, centre, first, layout.rows, page + layout.keys,
                          reinterpret_cast<uint16_t*>(page + layout.key_scales));
}

void write_values(const Kernels& kernels, uint8_t* page, const PageLayout& layout, Format format, const HeadShape& shape, int first,
                  int count, const float* values) {
    if (shape.latent) return;
    uint16_t* halves = reinterpret_cast<uint16_t*>(page + layout.values);
    if (!format_info(format).coded) kernels.store_half(values, halves + size_t(first) * shape.value_dim, count * shape.value_dim);
    else
        kernels.pack_values(format_info(format).values, values, count, shape.value_dim, first, layout.rows, page + layout.values,
                            reinterpret_cast<uint16_t*>(page + layout.value_scales));
}

int refined_rows(const uint8_t* page, const PageLayout& layout) {
    int count = 0;
    while (count < layout.refined && page[layout.refined_rows + count] != 0) count++;
    return count;
}

void refine_rows(const Kernels& kernels, uint8_t* page, const PageLayout& layout, Format format, const HeadShape& shape, const int* rows,
                 int count, const float* values, int first) {
    const int used = refined_rows(page, layout), dim = shape.value_dim;
    float differences[kMostRefined * kMostDim];
    for (int i = 0; i < count; i++) {
        float* difference = differences + i * dim;
        read_rows(page, layout, format, shape, nullptr, rows[i], 1, nullptr, difference);
        for (int d = 0; d < dim; d++) difference[d] = values[size_t(rows[i] - first) * dim + d] - difference[d];
        page[layout.refined_rows + used + i] = uint8_t(rows[i] + 1);
    }
    kernels.pack_values(format_info(format).values, differences, count, dim, used, layout.refined, page + layout.refined_values,
                        reinterpret_cast<uint16_t*>(page + layout.refined_scales));
}

// A refined row's codes, scales and row number; the target may be the same page.
static void copy_refined(const HeadShape& shape, const uint8_t* source, const PageLayout& source_layout, int from, uint8_t* target,
                         const PageLayout& target_layout, int to, int target_row) {
    for (int g = 0; g < shape.value_groups(); g++) {
        const auto [read, read_abreast] = refined_codes(source_layout, g, from);
        const auto [write, write_abreast] = refined_codes(target_layout, g, to);
        for (int j = 0; j < refined_bytes(source_layout); j++) target[write + j * write_abreast] = source[read + j * read_abreast];
        std::memcpy(target + refined_scale(target_layout, g, to), source + refined_scale(source_layout, g, from), sizeof(uint16_t));
    }
    target[target_layout.refined_rows + to] = uint8_t(target_row + 1);
}

void unrefine_rows(uint8_t* page, const PageLayout& layout, const HeadShape& shape, int first) {
    const int used = refined_rows(page, layout);
    int kept = 0;
    for (int i = 0; i < used; i++) {
        const int row = page[layout.refined_rows + i] - 1;
        if (row >= first) continue;
        if (kept < i) copy_refined(shape, page, layout, i, page, layout, kept, row);
        kept++;
    }
    std::memset(page + layout.refined_rows + kept, 0, used - kept);
}

void copy_row(Format format, const HeadShape& shape, const uint8_t* source, const PageLayout& source_layout, int source_row, uint8_t* target,
              const PageLayout& target_layout, int target_row) {
    const auto copy = [&](size_t source_offset, size_t target_offset, size_t bytes) {
        std::memcpy(target + target_offset, source + source_offset, bytes);
    };
    const FormatInfo& info = format_info(format);
    if (!info.coded) {
        const size_t key_row = shape.key_dim * sizeof(uint16_t), value_row = shape.stored_value_dim() * sizeof(uint16_t);
        copy(source_layout.keys + source_row * key_row, target_layout.keys + target_row * key_row, key_row);
        copy(source_layout.values + source_row * value_row, target_layout.values + target_row * value_row, value_row);
        return;
    }
    const size_t key_words = (source_layout.key_scales - source_layout.keys) / (4 * source_layout.rows);
    for (size_t i = 0; i < key_words; i++)
        copy(source_layout.keys + (i * source_layout.rows + source_row) * 4, target_layout.keys + (i * target_layout.rows + target_row) * 4, 4);
    const size_t value_bytes = size_t(source_layout.value_group) * info.value_bits / 8;  // of a group
    const auto value = [&](const PageLayout& layout, int group, int row) {
        return layout.values + group * layout.rows * value_bytes + row / 4 * 4 * value_bytes + row % 4;
    };
    const int value_groups = shape.latent ? 0 : shape.value_groups();
    for (int g = 0; g < value_groups; g++) {
        const uint8_t* from = source + value(source_layout, g, source_row);
        uint8_t* to = target + value(target_layout, g, target_row);
        for (size_t j = 0; j < value_bytes; j++) to[4 * j] = from[4 * j];
    }
    const auto copy_scales = [&](size_t source_scales, size_t target_scales, int groups) {
        for (int g = 0; g < groups; g++)
            copy(source_scales + (g * source_layout.rows + source_row) * 2, target_scales + (g * target_layout.rows + target_row) * 2, 2);
    };
    copy_scales(source_layout.key_scales, target_layout.key_scales, shape.key_groups());
    copy_scales(source_layout.value_scales, target_layout.value_scales, value_groups);
    const int used = refined_rows(target, target_layout);
    for (int i = 0; i < source_layout.refined && used < target_layout.refined; i++)
        if (source[source_layout.refined_rows + i] == source_row + 1)
            copy_refined(shape, source, source_layout, i, target, target_layout, used, target_row);
}

float value_norm(Format format, const HeadShape& shape, const uint8_t* page, const PageLayout& layout, int row) {
    float sum = 0;
    const auto add = [&](const uint16_t* half) {
        const float x = half_to_float(*half);
        sum += x * x;
    };
    if (format_info(format).coded) {
        const uint16_t* scales = reinterpret_cast<const uint16_t*>(page + (shape.latent ? layout.key_scales : layout.value_scales));
        for (int g = 0; g < shape.value_groups(); g++) add(scales + g * layout.rows + row);
    } else {
        const uint16_t* values = shape.latent ? reinterpret_cast<const uint16_t*>(page + layout.keys) + size_t(row) * shape.key_dim
                                              : reinterpret_cast<const uint16_t*>(page + layout.values) + size_t(row) * shape.value_dim;
        for (int d = 0; d < shape.value_dim; d++) add(values + d);
    }
    return std::sqrt(sum);
}

}  // namespace deltastore
