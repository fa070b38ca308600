#include "key_shifter.h"

#include <algorithm>

namespace deltastore {

Failure KeyShifter::follow(int sequence, const TurnRows& turn) {
    std::vector<float> scratch(layers_.page_floats());
    for (int table = 0; table < sequences_.tables(); table++) {
        PageTable& references = sequences_.table(sequence, table);
        for (PageRef& reference : references) {
            if (reference.shift == 0) continue;
            const PageLayout& layout = sequences_.layout(table, reference);
            const auto own = std::count_if(references.begin(), references.end(),
                                           [&](const PageRef& other) { return other.page == reference.page; });
            if (sequences_.pool().references(reference.page) > uint32_t(own)) {
                const Page copy = sequences_.allocate(layout);
                if (copy == kNoPage) return sequences_.pool().refusal();
                sequences_.place().copy(reference.page, copy, layout.bytes);
                sequences_.replace(reference, copy, reference.format, reference.rows, reference.begin);
            } else {
                sequences_.pool().changed(reference.page);
            }
            const auto turn_rows = [&](float* keys, int rows) { turn(layers_.layer_of(table), keys, rows, reference.shift); };
            sequences_.place().run(TurnKeys{sequences_.shape(table), sequences_.rows(table, reference), centres_.at(reference.centre, table), rotated_,
                                            turn_rows}, scratch.data());
            reference.shift = 0;
        }
    }
    return Failure::none;
}

}  // namespace deltastore
