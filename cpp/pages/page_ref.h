// References to rows of pages, and the tables that they make.
#pragma once

#include <cstdint>
#include <vector>

#include "centres.h"
#include "format/format.h"
#include "page.h"

namespace deltastore {

enum class PageKind : uint8_t {
    plain,
    sinks,  // never packed, never evicted
    gapped  // the rows' positions stand in the page
};

// A run of rows of one page, at consecutive positions unless it is gapped. Several references may show parts of the same page.
struct PageRef {
    Page page = kNoPage;
    int32_t position = 0;  // of row `begin`
    int32_t shift = 0;     // positions moved since the keys were rotated; not 0 until the keys follow
    uint16_t missing = 0;  // positions between the first and the last row that have none
    uint8_t begin = 0;
    uint8_t count = 0;
    uint8_t rows = 0;    // that the page has room for
    Format format = Format::f16;
    uint8_t centre = kNoCentre;  // number of the vector that was taken from the keys
    PageKind kind = PageKind::plain;

    bool pinned() const { return kind == PageKind::sinks; }
    bool gapped() const { return kind == PageKind::gapped; }
    bool packed() const { return format_info(format).packed; }

    int32_t end_position() const { return position + count + missing; }
    int end_row() const { return begin + count; }
};

// Of one sequence, layer and KV head, in order of position.
using PageTable = std::vector<PageRef>;

// Room for one more. Not for twice as many, as a vector has it: what lies empty then is a percent of a packed cache.
inline void make_room(PageTable& table) {
    if (table.size() == table.capacity()) table.reserve(table.size() + table.size() / 8 + 1);
}

// The positions [begin, end) that a sequence stands for once rows were evicted, which may have been its first or last ones.
struct Extent {
    bool evicted = false;  // otherwise the rows tell
    int32_t begin = 0, end = 0;
    int32_t until = 0;  // the end when rows were last evicted
};

// Where appended rows go: `count` rows of the page from `row` on, for the tokens from `token` on.
struct WriteSegment {
    PageRef target;
    int row;
    int count;
    int token;
};

}  // namespace deltastore
