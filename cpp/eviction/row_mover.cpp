#include "row_mover.h"

#include <algorithm>

namespace deltastore {

// One table's new references, while its rows move.
struct RowMover::Rewrite {
    PageTable result;
    PageRef open;          // a page with gaps that has room
    int32_t last = 0;      // position of its last row
    size_t row = 0;        // of Judged
    size_t next = 0;       // reference
    bool all_stay = false;
    bool stopped = false;  // for want of memory: what is left stays as it is
    int32_t first_watched = INT32_MAX;

    void close() {
        if (open.page != kNoPage) result.push_back(open);
        open = PageRef();
    }
    void stay(const PageRef& reference, bool watched) {
        close();
        if (watched && !reference.pinned() && !reference.gapped()) first_watched = std::min(first_watched, reference.position);
        result.push_back(reference);
    }
    // Whether a row of `reference` at `position` can follow those of the open page.
    bool fits(const PageRef& reference, int32_t position) const {
        return open.page != kNoPage && open.count < kPageRows && open.format == reference.format && open.centre == reference.centre &&
               open.shift == reference.shift && position - last - 1 <= kMostGap;
    }
};

// Page by page through all tables at once, so that pages of the same age, which share slabs, go together.
RowMover::Moved RowMover::move(int sequence, const std::vector<Judged>& tables, const std::function<Part(int, const PageRef&)>& part_of) {
    std::vector<Rewrite> all(tables.size());
    for (size_t table = 0; table < tables.size(); table++) {
        // No memory is asked for once pages move.
        all[table].result.reserve(2 * sequences_.table(sequence, int(table)).size() + 2);
        const std::vector<char>& stays = tables[table].stays;
        all[table].all_stay = std::find(stays.begin(), stays.end(), 0) == stays.end();
    }
    for (bool more = true; more;) {
        more = false;
        for (int table = 0; table < int(tables.size()); table++) {
            Rewrite& rewrite = all[table];
            const PageTable& references = sequences_.table(sequence, table);
            if (rewrite.next == references.size()) continue;
            more = true;
            const PageRef& reference = references[rewrite.next++];
            const Part part = part_of(table, reference);
            if (part != Part::judged) {
                rewrite.stay(reference, part == Part::fixed);
                continue;
            }
            const char* stays = tables[table].stays.data() + rewrite.row;
            const float* means = tables[table].means.data() + rewrite.row;
            rewrite.row += reference.count;
            if (rewrite.stopped || rewrite.all_stay) rewrite.stay(reference, rewrite.stopped);
            else move_rows(table, reference, stays, means, rewrite);
        }
    }
    Moved moved{true, INT32_MAX};
    for (int table = 0; table < int(tables.size()); table++) {
        Rewrite& rewrite = all[table];
        rewrite.close();
        sequences_.table(sequence, table).swap(rewrite.result);
        moved.whole = moved.whole && !rewrite.stopped;
        moved.first_watched = std::min(moved.first_watched, rewrite.first_watched);
    }
    sequences_.trim(sequence);
    return moved;
}

void RowMover::move_rows(int table, const PageRef& reference, const char* stays, const float* means, Rewrite& rewrite) {
    PageRef& open = rewrite.open;
    CopyRows::Row rows[kPageRows];  // for the open page
    int count = 0;
    const auto copy = [&] {
        if (count == 0) return;
        const Rows target = sequences_.rows(table, open);
        sequences_.place().run(CopyRows{sequences_.shape(table), sequences_.rows(table, reference), target, rows, count, true}, nullptr);
        count = 0;
    };
    int32_t positions[kPageRows];
    sequences_.row_positions(table, reference, positions);
    for (int r = 0; r < reference.count; r++) {
        if (!stays[r]) continue;
        if (!rewrite.fits(reference, positions[r])) {
            copy();
            rewrite.close();
            open = reference;
            open.position = positions[r];
            open.begin = open.count = open.missing = 0;
            open.rows = kPageRows;
            open.kind = PageKind::gapped;
            const PageLayout& layout = sequences_.layout(table, open);
            open.page = sequences_.allocate(layout);
            if (open.page == kNoPage) {
                rewrite.stopped = true;
                rewrite.stay(sequences_.slice(table, reference, r, reference.count - r), true);
                break;
            }
            sequences_.place().clear(open.page, layout.bytes);  // state files hold whole pages
            rewrite.last = positions[r] - 1;
        }
        rows[count++] = {uint8_t(reference.begin + r), open.count, uint8_t(positions[r] - rewrite.last - 1), mean_code(means[r])};
        open.count++;
        open.missing = uint16_t(positions[r] - open.position + 1 - open.count);
        rewrite.last = positions[r];
    }
    copy();
    sequences_.release(reference);
}

}  // namespace deltastore
