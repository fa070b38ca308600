#include "sequence_table.h"

#include <algorithm>

namespace deltastore {

SequenceTable::SequenceTable(PagePool& pool, const Layers& layers, int max_sequences)
    : pool_(pool), layers_(layers), layouts_(layers), sequences_(max_sequences), extents_(max_sequences), rules_(max_sequences),
      may_have_shift_(max_sequences) {
    for (auto& tables : sequences_) tables.resize(this->tables());
}

SequenceTable::~SequenceTable() {
    for (int sequence = 0; sequence < sequences(); sequence++) erase(sequence, 0, INT32_MAX);
}

void SequenceTable::lay_out(Format format) {
    for (const bool gapped : {false, true}) lay_out(format, kPageRows, gapped);
    if (!format_info(format).packed) lay_out(format, kWindowPageRows, false);
}

void SequenceTable::lay_out(Format format, int rows, bool gapped) {
    std::vector<size_t> sizes;
    layouts_.add(format, rows, gapped, sizes);
    for (size_t bytes : sizes) pool_.prepare(bytes);
}

void SequenceTable::set_rules(int sequence, int sinks, int window) {
    rules_[sequence] = {std::min(sinks, kPageRows), window};
}

int32_t SequenceTable::first_position(int sequence) const {
    if (extents_[sequence].evicted) return extents_[sequence].begin;
    int32_t first = INT32_MAX;
    for (const PageTable& table : sequences_[sequence]) {
        if (!table.empty()) first = std::min(first, table.front().position);
    }
    return first == INT32_MAX ? -1 : first;
}

int32_t SequenceTable::last_position(int sequence) const {
    if (extents_[sequence].evicted) return extents_[sequence].end - 1;
    int32_t last = -1;
    for (const PageTable& table : sequences_[sequence]) {
        if (!table.empty()) last = std::max(last, table.back().end_position() - 1);
    }
    return last;
}

int32_t SequenceTable::prefix_end(int source, int32_t end, int window, int sinks) const {
    if (first_position(source) != 0 || tables() == 0) return 0;
    end = std::min(end, last_position(source) + 1);
    const Extent& extent = extents_[source];
    const bool thinned = extent.evicted && end < extent.until;  // after rows before `end` had left the window
    if (!thinned && is_open(source, end, window)) return end;
    return std::max(0, (end - window - sinks) / kPageRows) * kPageRows + sinks;
}

bool SequenceTable::is_open(int sequence, int32_t end, int window) const {
    const PageTable& references = sequences_[sequence][0];
    const auto packed = [&](const PageRef& reference) { return reference.packed() && reference.end_position() > end - window && reference.position < end; };
    return window == 0 || std::none_of(references.begin(), references.end(), packed);
}

int SequenceTable::tokens(int sequence) const {
    const Extent& extent = extents_[sequence];
    if (extent.evicted) return extent.end - extent.begin;
    int rows = 0;
    if (!sequences_[sequence].empty())
        for (const PageRef& reference : sequences_[sequence][0]) rows += reference.count;
    return rows;
}

bool SequenceTable::has_all_rows(int sequence) const {
    const int32_t first = first_position(sequence), last = last_position(sequence);
    const auto whole = [&](const PageTable& table) {
        int32_t next = first;
        for (const PageRef& reference : table) {
            if (reference.position != next || reference.gapped()) return false;
            next = reference.end_position();
        }
        return next == last + 1;
    };
    return first < 0 || std::all_of(sequences_[sequence].begin(), sequences_[sequence].end(), whole);
}

void SequenceTable::begin_eviction(int sequence) {
    if (!extents_[sequence].evicted) extents_[sequence] = {true, first_position(sequence), last_position(sequence) + 1, 0};
}

void SequenceTable::row_positions(int table, const PageRef& reference, int32_t* positions) const {
    uint8_t gaps[kPageRows] = {};
    if (reference.gapped()) place().read(reference.page, layout(table, reference).gaps + reference.begin, reference.count, gaps);
    positions[0] = reference.position;
    for (int r = 1; r < reference.count; r++) positions[r] = positions[r - 1] + 1 + gaps[r];
}

PageRef SequenceTable::slice(int table, const PageRef& reference, int first, int count) {
    PageRef part = reference;
    part.begin = uint8_t(reference.begin + first);
    part.count = uint8_t(count);
    int32_t positions[kPageRows];
    row_positions(table, reference, positions);
    part.position = positions[first];
    part.missing = uint16_t(positions[first + count - 1] - part.position - (count - 1));
    pool_.retain(part.page);
    return part;
}

bool SequenceTable::continues(const PageTable& table, int32_t position, Format format, uint8_t centre) const {
    if (table.empty()) return false;
    const PageRef& tail = table.back();
    // Rows that come for a packed page may go behind exact ones (window 0), but none behind those of a coarser tier before.
    const auto bits = [](Format format) { return format_info(format).key_bits; };
    const bool same_kind = tail.packed() ? tail.format == format && tail.centre == centre : bits(tail.format) >= bits(format);
    return same_kind && !tail.gapped() && tail.end_position() == position && tail.shift == 0 && tail.end_row() < tail.rows &&
           pool_.references(tail.page) == 1;
}

// Of a new page for the first of `count` rows that are appended together.
static int page_rows(int window, int count, Format format) {
    const bool packed_soon = window < 0 || format_info(format).packed || count - kPageRows >= window;
    return packed_soon ? kPageRows : kWindowPageRows;
}

bool SequenceTable::append(int sequence, int32_t position, int count, int first_token, Format format, uint8_t centre,
                           std::vector<std::vector<WriteSegment>>& segments) {
    if (extents_[sequence].evicted) extents_[sequence].end = position + count;
    const Rules& rules = rules_[sequence];
    std::vector<int> done(tables(), 0);
    // A page for every table before the next page of any: pages of the same age lie together and leave their slabs together.
    for (bool all_done = false; !all_done;) {
        all_done = true;
        for (int index = 0; index < tables(); index++) {
            if (done[index] == count) continue;
            PageTable& table = sequences_[sequence][index];
            const int32_t next = position + done[index];
            if (continues(table, next, format, centre)) {
                pool_.changed(table.back().page);
            } else {
                PageRef fresh;
                fresh.kind = starts_with_sinks(rules, table, next) ? PageKind::sinks : PageKind::plain;
                fresh.format = fresh.pinned() ? Format::f16 : format;
                fresh.centre = fresh.pinned() ? kNoCentre : centre;
                fresh.rows = uint8_t(fresh.pinned() ? rules.sinks : page_rows(rules.window, count - done[index], format));
                fresh.begin = uint8_t(fresh.pinned() ? next : 0);
                fresh.position = next;
                fresh.page = allocate(layout(index, fresh));
                if (fresh.page == kNoPage) {
                    erase(sequence, position, INT32_MAX);
                    return false;
                }
                if (format_info(fresh.format).coded) place().clear(fresh.page, layout(index, fresh).bytes);
                make_room(table);
                table.push_back(fresh);
            }
            PageRef& tail = table.back();
            const int take = std::min<int>(count - done[index], tail.rows - tail.end_row());
            segments[index].push_back({tail, tail.end_row(), take, first_token + done[index]});
            tail.count = uint8_t(tail.count + take);
            done[index] += take;
            all_done = all_done && done[index] == count;
        }
    }
    return true;
}

void SequenceTable::add_demand(int sequence, int32_t position, int count, Format format, uint8_t centre,
                               PagePool::Demand& demand) const {
    const auto add = [&](size_t bytes) {
        for (auto& [size, total] : demand) {
            if (size != bytes) continue;
            total++;
            return;
        }
        demand.emplace_back(bytes, 1);
    };
    const Rules& rules = rules_[sequence];
    for (int index = 0; index < tables(); index++) {
        const PageTable& table = sequences_[sequence][index];
        int rest = count;
        if (continues(table, position, format, centre)) rest -= table.back().rows - table.back().end_row();
        if (starts_with_sinks(rules, table, position)) {
            add(layout(index, Format::f16, rules.sinks).bytes);
            rest -= rules.sinks - position;
        }
        for (int rows; rest > 0; rest -= rows) {
            rows = page_rows(rules.window, rest, format);
            add(layout(index, format, rows).bytes);
        }
    }
}

void SequenceTable::erase(int sequence, int32_t from, int32_t to) {
    for (int index = 0; index < tables(); index++) cut(index, sequences_[sequence][index], from, to);
    cut(extents_[sequence], from, to);
}

void SequenceTable::cut(int index, PageTable& table, int32_t from, int32_t to) {
    split(index, table, from, to < INT32_MAX);
    split(index, table, to);
    const auto dropped = std::remove_if(table.begin(), table.end(), [&](const PageRef& reference) {
        const bool drop = reference.position >= from && reference.position < to;
        if (drop) pool_.release(reference.page);
        return drop;
    });
    table.erase(dropped, table.end());
    if (table.capacity() > 4 * table.size() + 16) table.shrink_to_fit();
}

void SequenceTable::cut(Extent& extent, int32_t from, int32_t to) {
    if (to >= extent.end) extent.end = std::min(extent.end, from);
    else if (from <= extent.begin) extent.begin = std::max(extent.begin, to);
    if (from < extent.until && extent.until <= to) extent.until = from;  // what is behind the hole may move into it
    extent.until = std::min(extent.until, extent.end);
    if (extent.end <= extent.begin) extent = {};
}

void SequenceTable::trim(int sequence) {
    for (PageTable& table : sequences_[sequence]) table.shrink_to_fit();
}

void SequenceTable::split(int index, PageTable& table, int32_t position, bool keeps_rest) {
    for (size_t i = table.size(); i-- > 0;) {
        const PageRef whole = table[i];
        if (whole.end_position() <= position) return;
        if (whole.position >= position) continue;
        int32_t positions[kPageRows];
        row_positions(index, whole, positions);
        const int count = int(std::lower_bound(positions, positions + whole.count, position) - positions);
        if (keeps_rest) make_room(table);
        table[i] = slice(index, whole, 0, count);
        if (keeps_rest) table.insert(table.begin() + i + 1, slice(index, whole, count, whole.count - count));
        release(whole);
        return;
    }
}

void SequenceTable::shift(int sequence, int32_t from, int32_t to, int32_t delta) {
    may_have_shift_[sequence] = true;
    if (Extent& extent = extents_[sequence]; extent.evicted) {
        const auto moves_past = [&](int32_t position) { return from < position && position <= to; };
        const bool moves_begin = from <= extent.begin && extent.begin < to, moves_end = moves_past(extent.end), moves_until = moves_past(extent.until);
        if (moves_begin) extent.begin += delta;
        if (moves_end) extent.end += delta;
        if (moves_until) extent.until += delta;
    }
    for (int index = 0; index < tables(); index++) {
        PageTable& table = sequences_[sequence][index];
        split(index, table, from);
        split(index, table, to);
        for (PageRef& reference : table) {
            if (reference.position < from || reference.position >= to) continue;
            reference.position += delta;
            reference.shift += delta;
        }
        std::sort(table.begin(), table.end(), [](const PageRef& a, const PageRef& b) { return a.position < b.position; });
    }
}

bool SequenceTable::has_shift(int sequence) const {
    if (!may_have_shift_[sequence]) return false;
    for (const PageTable& table : sequences_[sequence]) {
        for (const PageRef& reference : table) {
            if (reference.shift != 0) return true;
        }
    }
    may_have_shift_[sequence] = false;
    return false;
}

bool SequenceTable::fork(int source, int target, int32_t from, int32_t to) {
    if (source == target) return true;
    struct Copies {
        SequenceTable& owner;
        std::vector<PageTable> tables;
        ~Copies() { owner.discard(tables); }
    } copies{*this, std::vector<PageTable>(tables())};
    for (int index = 0; index < tables(); index++) {
        PageTable& copy = copies.tables[index];
        copy.reserve(sequences_[source][index].size() + 2);  // with what cuts may add, before pages are retained
        for (const PageRef& reference : sequences_[source][index]) {
            pool_.retain(reference.page);
            copy.push_back(reference);
        }
        cut(index, copy, 0, from);
        cut(index, copy, to, INT32_MAX);
        if (copy.empty() || copy.back().gapped() || copy.back().end_row() == copy.back().rows) continue;
        PageRef& tail = copy.back();
        if (tail.packed() && rules_[target].window > 0) continue;  // rows go behind it only once it is packed, if nobody else has it
        const Page page = allocate(layout(index, tail));
        if (page == kNoPage) return false;
        place().copy(tail.page, page, layout(index, tail).bytes);
        replace(tail, page, tail.format, tail.rows, tail.begin);
    }
    Extent extent = extents_[source];
    cut(extent, 0, from);
    cut(extent, to, INT32_MAX);
    may_have_shift_[target] = may_have_shift_[source];
    install(target, copies.tables, extent);
    return true;
}

void SequenceTable::replace(PageRef& reference, Page page, Format format, int rows, int begin) {
    pool_.release(reference.page);
    reference.page = page;
    reference.format = format;
    reference.rows = uint8_t(rows);
    reference.begin = uint8_t(begin);
}

void SequenceTable::settle(int sequence) {
    for (PageTable& table : sequences_[sequence])
        for (PageRef& reference : table)
            if (pool_.references(reference.page) == 1) reference.page = pool_.settle(reference.page);
}

int SequenceTable::add_centre(Centres& centres, const std::vector<float>& vector, std::vector<bool> used) const {
    if (const int found = centres.find(vector); found >= 0) return found;
    used.resize(Centres::kMost);
    if (centres.count() == Centres::kMost)
        for (const auto& tables : sequences_)
            for (const PageTable& table : tables)
                for (const PageRef& reference : table)
                    if (reference.centre != kNoCentre) used[reference.centre] = true;
    return centres.add(vector, used);
}

void SequenceTable::install(int sequence, std::vector<PageTable>& tables, const Extent& extent) {
    erase(sequence, 0, INT32_MAX);
    extents_[sequence] = extent;
    sequences_[sequence].swap(tables);
    tables.clear();
}

void SequenceTable::discard(std::vector<PageTable>& tables) {
    for (PageTable& table : tables)
        for (const PageRef& reference : table) pool_.release(reference.page);
    tables.clear();
}

size_t SequenceTable::bookkeeping_bytes() const {
    size_t bytes = 0;
    for (int sequence = 0; sequence < sequences(); sequence++) bytes += bookkeeping_bytes(sequence);
    return bytes;
}

size_t SequenceTable::bookkeeping_bytes(int sequence) const {
    const std::vector<PageTable>& tables = sequences_[sequence];
    size_t bytes = tables.capacity() * sizeof(PageTable);
    for (const PageTable& table : tables) bytes += table.capacity() * sizeof(PageRef);
    return bytes;
}

}  // namespace deltastore
