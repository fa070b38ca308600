#include "repacker.h"

#include <algorithm>

namespace deltastore {

Failure Repacker::repack(int sequence, int window) {
    const Tier& tier = tiers_.of(sequence);
    const int32_t end = sequences_.last_position(sequence) + 1;
    if (tier.packs() && centres_.own() < 0) packer_.find_centre(sequence, end);
    if (!tier.packs() || centres_.own() < 0) return Failure::none;  // too few rows
    std::vector<float> scratch(layers_.page_floats());
    split_window(sequence, end - window);
    // Page by page through all tables at once, so that pages of the same age, which share slabs, go together.
    for (int32_t until = packer_.first_open(sequence) + window + kPageRows; ; until += kPageRows) {
        for (int table = 0; table < sequences_.tables(); table++)
            packer_.pack_table({sequence, 0, std::min(until, end), window, true}, table, scratch.data());
        if (until >= end) break;
    }
    const Failure failure = repack_pages(sequence, end - window, scratch.data());
    std::lock_guard<std::mutex> guard(lock_);
    gather_window(sequence, end - window);
    sequences_.trim(sequence);
    if (tier.watched() == WatchedQueries::some) watches_.of(sequence).drop_before(packer_.first_open(sequence));
    sequences_.settle(sequence);
    // Where one sequence after the other is packed, each leaves slabs that hold few pages of the next.
    for (int other = 0; other < sequences_.sequences() && sequences_.pool().loose_bytes() > 2 * PagePool::kSlabBytes; other++)
        if (other != sequence) sequences_.settle(other);
    return failure;
}

bool Repacker::shared(int sequence, int table, const PageRef& reference) const {
    std::lock_guard<std::mutex> guard(lock_);
    return sharing_.shared(sequence, table, reference);
}

// What was packed before, in the same order. Fails as well if rows before the window are left that pack_table() found no page for.
Failure Repacker::repack_pages(int sequence, int32_t window_begin, float* scratch) {
    size_t most = 0;
    for (int table = 0; table < sequences_.tables(); table++) most = std::max(most, sequences_.table(sequence, table).size());
    for (size_t index = 0; index < most; index++)
        for (int table = 0; table < sequences_.tables(); table++) {
            if (index >= sequences_.table(sequence, table).size()) continue;
            PageRef& reference = sequences_.table(sequence, table)[index];
            const bool exact = !reference.packed() && reference.kind == PageKind::plain && reference.shift == 0;
            const bool left = exact && reference.end_position() <= window_begin && reference.end_row() == reference.rows && !shared(sequence, table, reference);
            const Failure failure = left ? sequences_.pool().refusal() : repack_reference(sequence, table, reference, scratch);
            if (failure != Failure::none) return failure;
        }
    return Failure::none;
}

Failure Repacker::repack_reference(int sequence, int table, PageRef& reference, float* scratch) {
    const Format format = tiers_.of(sequence).format;
    const PageLayout& source = sequences_.layout(table, reference);
    const PageLayout& target = sequences_.layout(table, format, kPageRows, reference.gapped());
    Page page;
    {
        std::lock_guard<std::mutex> guard(lock_);
        const bool stored = reference.packed() || reference.gapped();
        if (!stored || reference.shift != 0 || target.bytes >= source.bytes || sharing_.shared(sequence, table, reference)) return Failure::none;
        page = sequences_.allocate(target);
        if (page == kNoPage) return sequences_.pool().refusal();
    }
    Place& place = sequences_.place();
    place.clear(page, target.bytes);
    const uint8_t centre = reference.centre == kNoCentre ? uint8_t(centres_.own()) : reference.centre;
    place.run(RepackRows{sequences_.shape(table), sequences_.rows(table, reference), {page, &target, format, reference.begin, reference.count},
                         centres_.at(reference.centre, table), centres_.at(centre, table), reference.gapped()}, scratch);
    std::lock_guard<std::mutex> guard(lock_);
    sequences_.replace(reference, page, format, kPageRows, reference.begin);
    reference.centre = centre;
    return Failure::none;
}

// Makes a page boundary of the window's begin, so that what lies before it can be packed.
void Repacker::split_window(int sequence, int32_t begin) {
    std::lock_guard<std::mutex> guard(lock_);
    for (int table = 0; table < sequences_.tables(); table++) {
        const PageTable& references = sequences_.table(sequence, table);
        const auto across = [&](const PageRef& reference) {
            return reference.position < begin && reference.end_position() > begin && reference.kind == PageKind::plain &&
                   reference.rows == kWindowPageRows && !sharing_.shared(sequence, table, reference);
        };
        if (std::any_of(references.begin(), references.end(), across)) sequences_.split(sequence, table, begin);
    }
}

// Rows from `begin` on that lie in two pages, and fit in one, move to the second.
void Repacker::gather_window(int sequence, int32_t begin) {
    for (int table = 0; table < sequences_.tables(); table++) {
        PageTable& references = sequences_.table(sequence, table);
        if (references.size() < 2) continue;
        const PageRef first = references[references.size() - 2];
        PageRef& last = references.back();
        const bool alike = first.position == begin && first.end_position() == last.position && first.kind == PageKind::plain &&
                           last.kind == PageKind::plain && first.format == last.format && !first.packed() && first.rows == last.rows &&
                           first.shift == last.shift;
        if (!alike || last.begin > 0 || first.count + last.count > last.rows || sequences_.pool().references(last.page) > 1) continue;
        sequences_.pool().changed(last.page);
        const Rows target = sequences_.rows(table, last);
        CopyRows::Row rows[kPageRows];
        for (int r = 0; r < last.count; r++) {
            const int row = last.count - 1 - r;
            rows[r] = {uint8_t(row), uint8_t(row + first.count), 0, 0};
        }
        sequences_.place().run(CopyRows{sequences_.shape(table), target, target, rows, last.count, false}, nullptr);
        for (int row = 0; row < first.count; row++) rows[row] = {uint8_t(first.begin + row), uint8_t(row), 0, 0};
        sequences_.place().run(CopyRows{sequences_.shape(table), sequences_.rows(table, first), target, rows, first.count, false}, nullptr);
        last.position = first.position;
        last.count = uint8_t(first.count + last.count);
        sequences_.release(first);
        references.erase(references.end() - 2);
    }
}

}  // namespace deltastore
