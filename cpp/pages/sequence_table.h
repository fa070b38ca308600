// Which pages a sequence's rows are in: one list of page references a layer and KV head. Bookkeeping only.
#pragma once

#include <cstdint>
#include <vector>

#include "layers.h"
#include "layouts.h"
#include "page_pool.h"
#include "page_ref.h"

namespace deltastore {

class SequenceTable {
public:
    SequenceTable(PagePool& pool, const Layers& layers, int max_sequences);
    ~SequenceTable();

    // Lays out pages of a format that rows will have, and pages of so many rows (of sinks). References may only have formats and sizes that were
    // laid out.
    void lay_out(Format format);
    void lay_out(Format format, int rows, bool gapped);

    // `sinks` rows at the start of a sequence get a page of their own, kPageRows at most. The newest `window` rows come in small pages, as they are
    // packed when they leave it; -1 if rows stay as they are.
    void set_rules(int sequence, int sinks, int window);

    int sequences() const { return int(sequences_.size()); }
    int sinks(int sequence) const { return rules_[sequence].sinks; }
    int tables() const { return layers_.tables(); }
    const HeadShape& shape(int table) const { return layers_.shape(table); }
    const PageLayout& layout(int table, Format format, int rows, bool gapped = false) const { return layouts_.of(table, format, rows, gapped); }
    const PageLayout& layout(int table, const PageRef& reference) const {
        return layout(table, reference.format, reference.rows, reference.gapped());
    }
    Rows rows(int table, const PageRef& reference) const {
        return {reference.page, &layout(table, reference), reference.format, reference.begin, reference.count};
    }
    PageTable& table(int sequence, int index) { return sequences_[sequence][index]; }
    const PageTable& table(int sequence, int index) const { return sequences_[sequence][index]; }

    // How much of the first `end` positions another sequence can take over; see Cache::prefix_end(). By the source's rules.
    int32_t prefix_end(int source, int32_t end, int window, int sinks) const;

    // Of the positions that the sequence stands for, whatever was evicted; -1 if there are none.
    int32_t first_position(int sequence) const;
    int32_t last_position(int sequence) const;
    int tokens(int sequence) const;
    // Whether the newest `window` rows before `end` are not packed.
    bool is_open(int sequence, int32_t end, int window) const;
    // Whether every table has a row of each position from the first to the last.
    bool has_all_rows(int sequence) const;
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

    PagePool& pool() const { return pool_; }
    Place& place() const { return pool_.place(); }
    // A page, or kNoPage.
    Page allocate(const PageLayout& layout) { return pool_.allocate(layout.bytes); }
    void retain(const PageRef& reference) { pool_.retain(reference.page); }
    void release(const PageRef& reference) { pool_.release(reference.page); }
    // A reference to `count` rows of another, from its row `first` on. Takes a page reference of its own.
    PageRef slice(int table, const PageRef& reference, int first, int count);
    // Swaps the page under a reference and drops the old one.
    void replace(PageRef& reference, Page page, Format format, int rows, int begin);
    // Moves pages that only this sequence holds out of slabs that others left.
    void settle(int sequence);

    // Adds a vector to `centres`. Once these are full it replaces one that neither a page nor `used` [number] names; -1 if there is none.
    int add_centre(Centres& centres, const std::vector<float>& vector, std::vector<bool> used = {}) const;

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
    // Drops positions [from, to) of a table that may not be a sequence's yet.
    void cut(int index, PageTable& table, int32_t from, int32_t to);
    static void cut(Extent& extent, int32_t from, int32_t to);
    // Without the rest it allocates nothing: rows must go where memory is short, too.
    void split(int index, PageTable& table, int32_t position, bool keeps_rest = true);

    PagePool& pool_;
    const Layers& layers_;
    Layouts layouts_;
    std::vector<std::vector<PageTable>> sequences_;
    std::vector<Extent> extents_;  // [sequence]
    std::vector<Rules> rules_;  // [sequence]
    mutable std::vector<char> may_have_shift_;  // [sequence]: false spares the scan
};

}  // namespace deltastore
