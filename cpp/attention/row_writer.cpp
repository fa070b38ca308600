#include "row_writer.h"

#include <algorithm>

#include "kernels/codec.h"

namespace deltastore {

static void copy_finite(const float* source, float* target, int count) {
    for (int i = 0; i < count; i++) {
        const float x = source[i];
        target[i] = x != x ? 0.0f : std::max(-65504.0f, std::min(65504.0f, x));
    }
}

void RowWriter::write(int layer, bool keys, const RowsView& rows, const Plan& plan, int thread, int threads) const {
    const LayerShape& shape = layers_[layer];
    const int dim = keys ? shape.head.key_dim : shape.head.value_dim;
    int unit = 0;
    for (int head = 0; head < shape.kv_heads; head++) {
        const int table = layers_.table(layer, head);
        for (const WriteSegment& segment : plan.segments[table]) {
            if (unit++ % threads != thread) continue;
            const PageRef& target = segment.target;
            const PageLayout& layout = sequences_.layout(table, target);
            uint8_t* page = place_.at(target.page);
            const float* centre = centres_.at(target.centre, table);
            for (int i = 0; i < segment.count; i++) {
                const float* row = rows.row(segment.token + i, head);
                float finite[kMostDim];
                if (rotate_ || format_info(target.format).coded) {
                    copy_finite(row, finite, dim);
                    if (rotate_) kernels_.rotate(finite, 1, dim, keys ? key_block(dim) : value_block(dim));
                    row = finite;
                }
                if (keys) write_keys(kernels_, page, layout, target.format, shape.head, centre, segment.row + i, 1, row);
                else write_values(kernels_, page, layout, target.format, shape.head, segment.row + i, 1, row);
            }
        }
    }
}

}  // namespace deltastore
