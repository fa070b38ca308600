// Which pages a sequence's rows are in: one list of page references a layer and KV head. Bookkeeping only; no row is read
// or written here.
#pragma once

#include <cstdint>
#include <vector>

#include "format/format.h"
#include "page_pool.h"

namespace deltastore {

enum class PageKind : uint8_t {
    plain,
    sinks,  // never packed, never evicted
    gapped  // the rows' positions stand in the page
};

inline constexpr uint8_t kNoCentre = 255;

// A run of rows of one page, at consecutive positions unless it is gapped. Several references may show parts of the same page.
struct PageRef {
    uint8_t* page = nullptr;
    int32_t position = 0;  // of row `begin`
    int32_t shift = 0;     // positions moved since the keys were rotated; not 0 until the keys follow
    uint16_t missing = 0;  // positions between the first and the last row that have none
    uint8_t begin = 0;
    uint8_t count = 0;
    uint8_t rows = 0;    // that the page has room for
    Format format = Format::f16;
    uint8_t centre = kNoCentre;  // index of the vector that was taken from the keys
    PageKind kind = PageKind::plain;

    bool pinned() const { return kind == PageKind::sinks; }
    bool gapped() const { return kind == PageKind::gapped; }

    int32_t end_position() const { return position + count + missing; }
    int end_row() const { return begin + count; }
};

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

class SequenceTable {
public:
    // One table a (layer, KV head), in the caller's order.
    SequenceTable(PagePool& pool, std::vector<HeadShape> shapes, int max_sequences);
    ~SequenceTable();

    // `sinks` rows at the start of a sequence get a page of their own, kPageRows at most. The newest `window` rows come in small pages, as they are packed when
    // they leave it; -1 if rows stay as they are.
    void set_rules(int sequence, int sinks, int window);

    int sequences() const { return int(sequences_.size()); }
    int tables() const { return int(shapes_.size()); }
    const HeadShape& shape(int table) const { return shapes_[table]; }
    const PageLayout& layout(int table, Format format, int rows, bool gapped = false) const;
    const PageLayout& layout(int table, const PageRef& reference) const {
        return layout(table, reference.format, reference.rows, reference.gapped());
    }
    PageTable& table(int sequence, int index) { return sequences_[sequence][index]; }
    const PageTable& table(int sequence, int index) const { return sequences_[sequence][index]; }

    // Of the positions that the sequence stands for, whatever was evicted; -1 if there are none.
    int32_t first_position(int sequence) const;
    int32_t last_position(int sequence) const;
    int tokens(int sequence) const;
    const Extent& extent(int sequence) const { return extents_[sequence]; }
    // Rows may go without their positions from now on, until the sequence is emptied.
    void begin_eviction(int sequence);
    void end_eviction(int sequence) { extents_[sequence].until = extents_[sequence].end; }
    // Positions of the reference's rows: [kPageRows].
    void row_positions(int table, const PageRef& reference, int32_t* positions) const;

    // Makes room for `count` rows from `position` on, behind what the sequence has, in pages of `format` and `centre`,
    // and tells where they go: segments[table] gets appended. False if the pool gave no page; then nothing has changed.
    bool append(int sequence, int32_t position, int count, int first_token, Format format, uint8_t centre,
                std::vector<std::vector<WriteSegment>>& segments);

    // Adds the pages that append() would take.
    void add_demand(int sequence, int32_t position, int count, Format format, uint8_t centre, PagePool::Demand& demand) const;

    // Drops positions [from, to).
    void erase(int sequence, int32_t from, int32_t to);

    // Makes a page boundary of `position`, if it lies inside a reference.
    void split(int sequence, int index, int32_t position) { split(index, sequences_[sequence][index], position); }
    // Gives back what the lists have room for and do not use.
    void trim(int sequence);

    // Adds `delta` to positions [from, to). The keys have to follow before they are read: PageRef::shift.
    void shift(int sequence, int32_t from, int32_t to, int32_t delta);
    bool has_shift(int sequence) const;

    // Replaces the target by the source's positions [from, to). Full pages are shared; the open tail page is copied, so that
    // both can go on writing. False if the pool gave no page; then the target is as it was.
    bool fork(int source, int target, int32_t from, int32_t to);

    const PagePool& pool() const { return pool_; }
    // A page, or nullptr.
    uint8_t* allocate(const PageLayout& layout) { return pool_.allocate(layout.bytes); }
    void retain(const PageRef& reference) { pool_.retain(reference.page); }
    void release(const PageRef& reference) { pool_.release(reference.page); }
    // A reference to `count` rows of another, from its row `first` on. Takes a page reference of its own.
    PageRef slice(int table, const PageRef& reference, int first, int count);
    // Swaps the page under a reference and drops the old one.
    void replace(PageRef& reference, uint8_t* page, Format format, int rows, int begin);

    // Replaces a sequence's tables; `tables` is left empty.
    void install(int sequence, std::vector<PageTable>& tables, const Extent& extent);
    // Gives the pages of tables that belong to no sequence back.
    void discard(std::vector<PageTable>& tables);

    // Bytes that the tables themselves take.
    size_t bookkeeping_bytes() const;
    size_t bookkeeping_bytes(int sequence) const;

private:
    // Whether rows from `position` on can go behind the last of a table.
    bool continues(const PageTable& table, int32_t position, Format format, uint8_t centre) const;
    struct Rules {
        int sinks = 0, window = -1;
    };
    static bool starts_with_sinks(const Rules& rules, const PageTable& table, int32_t position) { return position < rules.sinks && table.empty(); }
    // Rows of a new page for the first of `count` rows that are appended together.
    static int page_rows(const Rules& rules, int count, Format format) {
        const bool packed_soon = rules.window < 0 || format_info(format).packed || count - kPageRows >= rules.window;
        return packed_soon ? kPageRows : kWindowPageRows;
    }
    // Drops positions [from, to) of a table that may not be a sequence's yet.
    void cut(int index, PageTable& table, int32_t from, int32_t to);
    static void cut(Extent& extent, int32_t from, int32_t to);
    void split(int index, PageTable& table, int32_t position);

    PagePool& pool_;
    std::vector<HeadShape> shapes_;
    std::vector<int> layout_of_;                 // table -> index of its distinct shape
    std::vector<PageLayout> layouts_;            // [distinct shape][format], kPageRows rows
    std::vector<PageLayout> window_layouts_;     // the same with kWindowPageRows
    std::vector<PageLayout> gapped_layouts_;     // the same with gaps
    std::vector<PageLayout> sink_layouts_;       // [distinct shape][rows - 1], F16
    std::vector<std::vector<PageTable>> sequences_;
    std::vector<Extent> extents_;  // [sequence]
    std::vector<Rules> rules_;  // [sequence]
    mutable std::vector<char> may_have_shift_;  // [sequence]: false spares the scan
};

}  // namespace deltastore
