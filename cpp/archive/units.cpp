#include "units.h"

namespace deltastore {

std::vector<Unit> units_of(const std::vector<HeadShape>& shapes) {
    std::vector<Unit> units;
    for (const bool keys : {true, false}) {
        bool open = false;
        for (int table = 0; table < int(shapes.size()); table++) {
            const int dims = dims_of(shapes[table], keys);
            if (dims == 0) {
                open = false;
                continue;
            }
            if (!open || units.back().dims + dims > kMostUnitDims) units.push_back({keys, table, 0, 0});
            open = true;
            units.back().count++;
            units.back().dims += dims;
        }
    }
    return units;
}

}  // namespace deltastore
