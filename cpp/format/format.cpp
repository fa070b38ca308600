#include "format.h"

#include <cstring>

namespace deltastore {

static constexpr FormatInfo kFormats[kFormatCount] = {
    {"f16", false, false, KeyCoding::none, ValueCoding::none, 16, 16, 0},
    {"k4v4", true, true, KeyCoding::lloyd4, ValueCoding::lloyd4, 4, 4, 0},
    {"k4v2", true, true, KeyCoding::lloyd4, ValueCoding::trellis2, 4, 2, 0},
    {"k3v2", true, true, KeyCoding::lloyd3, ValueCoding::trellis2, 3, 2, 0},
    {"k8v8", true, false, KeyCoding::linear8, ValueCoding::linear7, 8, 8, 0},
    {"k4v2r6", true, true, KeyCoding::lloyd4, ValueCoding::trellis2, 4, 2, 6},
    {"k4v2r14", true, true, KeyCoding::lloyd4, ValueCoding::trellis2, 4, 2, 14},
    {"k3v2r6", true, true, KeyCoding::lloyd3, ValueCoding::trellis2, 3, 2, 6},
    {"k3v2r14", true, true, KeyCoding::lloyd3, ValueCoding::trellis2, 3, 2, 14},
};

const FormatInfo& format_info(Format format) {
    return kFormats[int(format)];
}

bool format_by_name(const char* name, Format& format) {
    for (int i = 0; i < kFormatCount; i++) {
        if (std::strcmp(kFormats[i].name, name) == 0) {
            format = Format(i);
            return true;
        }
    }
    return false;
}

PageLayout page_layout(Format format, const HeadShape& shape, int rows, bool gapped) {
    const FormatInfo& info = format_info(format);
    PageLayout layout;
    layout.rows = rows;
    layout.refined = shape.latent ? 0 : info.refined;
    layout.key_group = shape.key_group();
    layout.value_group = shape.value_group();
    const size_t row_count = size_t(rows), value_dim = shape.stored_value_dim(), value_groups = value_dim / layout.value_group;
    if (!info.coded) {
        layout.values = row_count * shape.key_dim * 2;
        layout.bytes = layout.values + row_count * value_dim * 2;
    } else {
        layout.key_scales = row_count * shape.key_groups() * key_group_bytes(info.key_bits, shape.key_group());
        layout.values = layout.key_scales + row_count * shape.key_groups() * 2;
        layout.value_scales = layout.values + row_count * value_dim * info.value_bits / 8;
        layout.refined_values = layout.value_scales + row_count * value_groups * 2;
        layout.refined_scales = layout.refined_values + size_t(layout.refined) * value_dim * info.value_bits / 8;
        layout.refined_rows = layout.refined_scales + size_t(layout.refined) * value_groups * 2;
        layout.bytes = layout.refined_rows + layout.refined;
    }
    if (gapped) {
        layout.gaps = layout.bytes;
        layout.received = layout.gaps + row_count;
        layout.bytes = layout.received + row_count;
    }
    layout.bytes = (layout.bytes + 63) / 64 * 64;
    return layout;
}

}  // namespace deltastore
