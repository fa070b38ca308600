// Work on the rows of pages, as the cache hands it to the place where these lie. Everything that a work needs stands in it, so whoever
// does it needs no table and no lock. Dimensions as in format.h.
#pragma once

#include <cstdint>
#include <functional>
#include <variant>

#include "format/format.h"
#include "page.h"

namespace deltastore {

// `count` rows of a page from its row `first` on.
struct Rows {
    Page page = kNoPage;
    const PageLayout* layout = nullptr;
    Format format = Format::f16;
    int first = 0;
    int count = 0;

    Rows part(int begin, int rows) const { return {page, layout, format, first + begin, rows}; }
};

// Unpacks rows to floats in the processor's memory. Coded keys get `centre` [key_dim] added back, if there is one.
struct ReadRows {
    HeadShape shape;
    Rows source;
    const float* centre;
    float* keys;    // [count][key_dim], or null
    float* values;  // [count][value_dim], or null
};

// Packs rows of a page that has no centre into the target's format; `centre` is taken from their keys first. If that format refines rows, those whose
// `received` x |value| is largest get a second code, as many as are these rows' part of a page's refined rows.
struct PackRows {
    HeadShape shape;
    Rows source, target;     // as many rows
    const float* centre;     // [key_dim]
    const float* received;   // [row of the source] attention, in any unit; null if nothing is refined
};

// Packs a page's rows again, into a smaller format; gaps and what rows received go along.
struct RepackRows {
    HeadShape shape;
    Rows source, target;
    const float *source_centre, *target_centre;  // [key_dim], or null
    bool gapped;
};

// Copies rows, codes and all, between pages of one format. Rows of one page may move to rows behind them, the last one first.
struct CopyRows {
    struct Row {
        uint8_t from, to;       // row of the page
        uint8_t gap, received;  // of the target, if it has gaps; see PageLayout
    };
    HeadShape shape;
    Rows source, target;  // the pages; the rows stand in `rows`
    const Row* rows;
    int count;
    bool gapped;  // whether the target is
};

// `turn(keys [rows][key_dim], rows)` turns keys, which it gets unrotated, by some positions.
struct TurnKeys {
    HeadShape shape;
    Rows rows;
    const float* centre;
    bool rotated;  // whether keys lie rotated
    std::function<void(float* keys, int rows)> turn;
};

// About the length of each row's value vector, to a factor that the format's rows have in common: coded rows give their scales'.
struct MeasureValues {
    HeadShape shape;
    Rows source;
    float* norms;  // [count]
};

using Work = std::variant<ReadRows, PackRows, RepackRows, CopyRows, TurnKeys, MeasureValues>;

}  // namespace deltastore
