// Packing: rows that left the window, and those of a sequence that got another tier.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "cache.h"
#include "kernels/codec.h"
#include "attention/plan.h"

namespace deltastore {

static constexpr int kCentreRows = 64;   // rows of a sequence that a centre is the mean of, at least
static constexpr size_t kMostCentres = kNoCentre;

void Cache::pack_layer(int layer, Plan& plan, float* scratch) {
    if (own_centre_ < 0 || plan.next_pack[layer].load(std::memory_order_relaxed) < 0) return;
    const int kv_heads = options_.layers[layer].kv_heads, items = kv_heads * int(plan.written.size());
    for (;;) {
        const int item = plan.next_pack[layer].fetch_add(1, std::memory_order_relaxed);
        if (item >= items) return;
        const Written& written = plan.written[item / kv_heads];
        if (tier(written.sequence).packs()) pack_table(written, table_index(layer, item % kv_heads), scratch);
    }
}

void Cache::finish() {
    if (current_ < 0) return;
    const Plan& plan = *plans_[current_];
    for (const Written& written : plan.written) {
        if (!tier(written.sequence).packs()) continue;
        if (own_centre_ < 0) find_centre(written.sequence, written.end);
        if (own_centre_ < 0) continue;
        for (int table = 0; table < sequences_.tables(); table++)
            pack_table(written, table, reinterpret_cast<float*>(scratch_[0].memory.get()));
        if (tier(written.sequence).watched() != WatchedQueries::some) continue;
        std::lock_guard<std::mutex> guard(mutex_);
        watches_[written.sequence].drop_before(first_open(written.sequence));
    }
}

int32_t Cache::first_open(int sequence) const {
    int32_t first = sequences_.last_position(sequence) + 1;
    for (int table = 0; table < sequences_.tables(); table++) {
        const PageTable& references = sequences_.table(sequence, table);
        for (size_t i = references.size(); i > 0 && !references[i - 1].pinned() && !format_info(references[i - 1].format).packed; i--)
            first = std::min(first, references[i - 1].position);
    }
    return first;
}

// `scratch`: floats for a page's keys and values.
void Cache::pack_table(const Written& written, int table, float* scratch) {
    PageTable& references = sequences_.table(written.sequence, table);
    const auto packed = [](const PageRef& reference) { return format_info(reference.format).packed; };
    // What is older than a packed page was packed before, unless this ubatch opened that page (window 0).
    size_t first = references.size();
    while (first > 0 && !(packed(references[first - 1]) && references[first - 1].position < written.begin)) first--;
    size_t count = references.size();
    for (size_t i = first; i < count; i++) {  // oldest first, so that a later call finds those that got no page
        const PageRef& reference = references[i];
        if (reference.pinned() || reference.gapped() || packed(reference) || reference.end_position() > written.end - written.window) continue;
        const bool open = i + 1 == count && reference.end_row() < reference.rows;
        if (open || reference.shift != 0 || (written.spares_shared && shared_now(written.sequence, table, reference))) continue;
        if (!pack_reference(written, table, references, i, scratch)) return;  // tried again after the next ubatch
        if (references.size() < count) i--;
        count = references.size();
    }
}

// Rows go behind those of the packed page before them while it has room, and then into a new one.
bool Cache::pack_reference(const Written& written, int table, PageTable& references, size_t index, float* scratch) {
    const HeadShape& shape = sequences_.shape(table);
    const Format format = tier(written.sequence).format;
    const PageRef reference = references[index];
    PageRef* const before = index > 0 ? &references[index - 1] : nullptr;
    const PageLayout& target = sequences_.layout(table, format, kPageRows);
    int joining = 0;
    uint8_t* page = nullptr;
    {
        std::lock_guard<std::mutex> guard(mutex_);
        if (before != nullptr && before->kind == PageKind::plain && before->format == format && before->centre == own_centre_ &&
            before->shift == 0 && before->end_position() == reference.position && pool_.references(before->page) == 1)
            joining = std::min<int>(reference.count, before->rows - before->end_row());
        if (joining > 0) pool_.changed(before->page);
        if (joining < reference.count) {
            page = sequences_.allocate(target);
            if (page == nullptr) return false;
            std::memset(page, 0, target.bytes);  // state files hold whole pages
        }
    }
    const int rest = reference.count - joining;
    const PageLayout& source = sequences_.layout(table, reference);
    const auto read = [&](float* keys, float* values) {
        read_rows(reference.page, source, reference.format, shape, nullptr, reference.begin, reference.count, keys, values);
    };
    const float* centre = this->centre(own_centre_, table);
    read(scratch, nullptr);
    if (joining > 0) deltastore::write_keys(kernels_, before->page, target, format, shape, centre, before->end_row(), joining, scratch);
    if (rest > 0) deltastore::write_keys(kernels_, page, target, format, shape, centre, 0, rest, scratch + joining * shape.key_dim);
    read(nullptr, scratch);
    const auto write_values = [&](uint8_t* to, int row, int first, int count) {
        const float* values = scratch + first * shape.value_dim;
        unrefine_rows(to, target, shape, row);  // of rows that were erased
        deltastore::write_values(kernels_, to, target, format, shape, row, count, values);
        refine(written, table, to, row, count, reference.position + first, values);
    };
    if (joining > 0) write_values(before->page, before->end_row(), 0, joining);
    if (rest > 0) write_values(page, 0, joining, rest);
    std::lock_guard<std::mutex> guard(mutex_);
    if (joining > 0) before->count = uint8_t(before->count + joining);
    if (rest == 0) {
        sequences_.release(reference);
        references.erase(references.begin() + index);
        return true;
    }
    PageRef& moved = references[index];
    moved.position += joining;
    moved.count = uint8_t(rest);
    moved.centre = uint8_t(own_centre_);
    sequences_.replace(moved, page, format, kPageRows, 0);
    return true;
}

// Of rows just packed, [count][value_dim] from row `row` on, those whose values add most to what queries see get a second code: as many as
// are these rows' part of a page's refined rows.
void Cache::refine(const Written& written, int table, uint8_t* page, int row, int count, int32_t position, const float* values) {
    const Format format = tier(written.sequence).format;
    if (format_info(format).refined == 0) return;
    const HeadShape& shape = sequences_.shape(table);
    const PageLayout& layout = sequences_.layout(table, format, kPageRows);
    const int due = int(std::lround(double(format_info(format).refined) * (row + count) / kPageRows));
    const int room = std::min(due - refined_rows(page, layout), count);
    if (room <= 0) return;
    const Watch& watch = watches_[written.sequence];
    const bool all_queries = tier(written.sequence).watched() == WatchedQueries::all;  // of others each row had as many
    std::pair<float, int> scores[kPageRows];  // and the row
    for (int r = 0; r < count; r++) {
        const int32_t at = position + r;
        const bool known = at >= watch.begin() && at < watch.end();
        float energy = 0;
        for (int d = 0; d < shape.value_dim; d++) energy += values[r * shape.value_dim + d] * values[r * shape.value_dim + d];
        const float received = known ? float(*watch.sum(table, at)) / (all_queries ? float(written.end - at) : 1.0f) : 0.0f;
        scores[r] = {received * std::sqrt(energy), r};
    }
    std::partial_sort(scores, scores + room, scores + count, std::greater<>());
    int rows[kMostRefined];
    for (int i = 0; i < room; i++) rows[i] = row + scores[i].second;
    refine_rows(kernels_, page, layout, format, shape, rows, room, values, row);
}

// The mean of a sequence's exact keys, once enough of them are there. Softmax does not change when a constant is taken from
// every key, and codes are finer without it.
void Cache::find_centre(int sequence, int32_t end) {
    std::vector<float> means(centre_floats_, 0.0f), keys;
    for (int table = 0; table < sequences_.tables(); table++) {
        const int dim = sequences_.shape(table).key_dim;
        float* mean = means.data() + centre_offset_[table];
        int rows = 0;
        for (const PageRef& reference : sequences_.table(sequence, table)) {
            const int count = std::min<int>(reference.count, end - reference.position);
            if (reference.pinned() || format_info(reference.format).packed || count <= 0) continue;
            keys.resize(size_t(count) * dim);
            read_rows(reference.page, sequences_.layout(table, reference), reference.format,
                      sequences_.shape(table), nullptr, reference.begin, count, keys.data(), nullptr);
            for (int r = 0; r < count; r++)
                for (int d = 0; d < dim; d++) mean[d] += keys[r * dim + d];
            rows += count;
        }
        if (rows < kCentreRows) return;
        for (int d = 0; d < dim; d++) mean[d] /= float(rows);
    }
    std::lock_guard<std::mutex> guard(mutex_);
    own_centre_ = add_centre(means, {});
}

int Cache::add_centre(const std::vector<float>& vector, std::vector<bool> taken) {
    for (size_t i = 0; i < centres_.size(); i++)
        if (*centres_[i] == vector) return int(i);
    auto added = std::make_unique<std::vector<float>>(vector);
    size_t index = centres_.size();
    if (index >= kMostCentres) {  // takes the place of one that no page names
        taken.resize(kMostCentres);
        if (own_centre_ >= 0) taken[own_centre_] = true;
        for (int sequence = 0; sequence < sequences_.sequences(); sequence++)
            for (int table = 0; table < sequences_.tables(); table++)
                for (const PageRef& reference : sequences_.table(sequence, table))
                    if (reference.centre != kNoCentre) taken[reference.centre] = true;
        index = std::find(taken.begin(), taken.end(), false) - taken.begin();
        if (index == kMostCentres) return -1;
        centres_[index] = std::move(added);
    } else {
        centres_.push_back(std::move(added));
    }
    return int(index);
}

void Cache::install(int sequence, std::vector<PageTable>& tables, const Extent& extent, Watch watch) {
    if (own_centre_ < 0)
        for (const PageTable& table : tables)
            for (const PageRef& reference : table)
                if (format_info(reference.format).packed) own_centre_ = reference.centre;
    sequences_.install(sequence, tables, extent);
    watches_[sequence] = std::move(watch);
}

void Cache::hold(const std::vector<PageTable>& tables) {
    for (const PageTable& table : tables)
        for (const PageRef& reference : table) held_.try_emplace(reference.page, 0);  // may throw; what is held by none is not held
    for (const PageTable& table : tables)
        for (const PageRef& reference : table) {
            held_[reference.page]++;
            pool_.retain(reference.page);
        }
}

void Cache::release(std::vector<PageTable>& tables) {
    for (const PageTable& table : tables)
        for (const PageRef& reference : table)
            if (const auto held = held_.find(reference.page); --held->second == 0) held_.erase(held);
    sequences_.discard(tables);
}

// Page by page through all tables at once, so that pages of the same age, which share slabs, go together.
Failure Cache::repack(int sequence, int window) {
    const Tier& own = tier(sequence);
    const int32_t end = sequences_.last_position(sequence) + 1;
    if (own.packs() && own_centre_ < 0) find_centre(sequence, end);
    if (!own.packs() || own_centre_ < 0) return Failure::none;  // too few rows
    {
        std::lock_guard<std::mutex> guard(mutex_);
        account();
    }
    size_t most_floats = 0, most_pages = 0;
    for (int table = 0; table < sequences_.tables(); table++) {
        const HeadShape& shape = sequences_.shape(table);
        most_floats = std::max(most_floats, size_t(kPageRows) * (shape.key_dim + shape.value_dim));
    }
    std::vector<float> scratch(most_floats);
    split_window(sequence, end - window);
    for (int32_t until = first_open(sequence) + window + kPageRows; ; until += kPageRows) {
        for (int table = 0; table < sequences_.tables(); table++) pack_table({sequence, 0, std::min(until, end), window, true}, table, scratch.data());
        if (until >= end) break;
    }
    for (int table = 0; table < sequences_.tables(); table++) most_pages = std::max(most_pages, sequences_.table(sequence, table).size());
    Failure failure = Failure::none;
    for (size_t index = 0; index < most_pages && failure == Failure::none; index++)
        for (int table = 0; table < sequences_.tables() && failure == Failure::none; table++) {
            if (index >= sequences_.table(sequence, table).size()) continue;
            PageRef& reference = sequences_.table(sequence, table)[index];
            const bool exact = !format_info(reference.format).packed && reference.kind == PageKind::plain && reference.shift == 0;
            const bool left = exact && reference.end_position() <= end - window && reference.end_row() == reference.rows && !shared_now(sequence, table, reference);
            failure = left ? no_page() : repack_reference(sequence, table, reference, scratch.data());
        }
    std::lock_guard<std::mutex> guard(mutex_);
    gather_window(sequence, end - window);
    sequences_.trim(sequence);
    if (tier(sequence).watched() == WatchedQueries::some) watches_[sequence].drop_before(first_open(sequence));
    settle(sequence);
    // Where one sequence after the other is packed, each leaves slabs that hold few pages of the next.
    for (int other = 0; other < sequences_.sequences() && pool_.loose_bytes() > 2 * PagePool::kSlabBytes; other++)
        if (other != sequence) settle(other);
    return failure;
}

// Makes a page boundary of the window's begin, so that what lies before it can be packed.
void Cache::split_window(int sequence, int32_t begin) {
    std::lock_guard<std::mutex> guard(mutex_);
    for (int table = 0; table < sequences_.tables(); table++) {
        const PageTable& references = sequences_.table(sequence, table);
        const auto across = [&](const PageRef& reference) {
            return reference.position < begin && reference.end_position() > begin && reference.kind == PageKind::plain &&
                   reference.rows == kWindowPageRows && !shared(sequence, table, reference);
        };
        if (std::any_of(references.begin(), references.end(), across)) sequences_.split(sequence, table, begin);
    }
}

// Rows from `begin` on that lie in two pages, and fit in one, move to the second.
void Cache::gather_window(int sequence, int32_t begin) {
    for (int table = 0; table < sequences_.tables(); table++) {
        PageTable& references = sequences_.table(sequence, table);
        if (references.size() < 2) continue;
        const PageRef first = references[references.size() - 2];
        PageRef& last = references.back();
        const bool alike = first.position == begin && first.end_position() == last.position && first.kind == PageKind::plain &&
                           last.kind == PageKind::plain && first.format == last.format && !format_info(first.format).packed &&
                           first.rows == last.rows && first.shift == last.shift;
        if (!alike || last.begin > 0 || first.count + last.count > last.rows || pool_.references(last.page) > 1) continue;
        pool_.changed(last.page);
        const PageLayout& layout = sequences_.layout(table, last);
        const auto copy = [&](const uint8_t* source, int row, int target) {
            copy_row(last.format, sequences_.shape(table), source, layout, row, last.page, layout, target);
        };
        for (int row = last.count; row-- > 0;) copy(last.page, row, row + first.count);
        for (int row = 0; row < first.count; row++) copy(first.page, first.begin + row, row);
        last.position = first.position;
        last.count = uint8_t(first.count + last.count);
        sequences_.release(first);
        references.erase(references.end() - 2);
    }
}

// `scratch`: floats for a page's keys and values.
Failure Cache::repack_reference(int sequence, int table, PageRef& reference, float* scratch) {
    const Format format = tier(sequence).format;
    const PageLayout& source = sequences_.layout(table, reference);
    const PageLayout& target = sequences_.layout(table, format, kPageRows, reference.gapped());
    const HeadShape& shape = sequences_.shape(table);
    uint8_t* page;
    {
        std::lock_guard<std::mutex> guard(mutex_);
        const bool stored = format_info(reference.format).packed || reference.gapped();
        if (!stored || reference.shift != 0 || target.bytes >= source.bytes || shared(sequence, table, reference)) return Failure::none;
        page = sequences_.allocate(target);
        if (page == nullptr) return no_page();
    }
    std::memset(page, 0, target.bytes);
    const int first = reference.begin, count = reference.count;
    float *keys = scratch, *values = scratch + size_t(count) * shape.key_dim;
    read_rows(reference.page, source, reference.format, shape, centre(reference.centre, table), first, count, keys, values);
    const uint8_t taken = reference.centre == kNoCentre ? uint8_t(own_centre_) : reference.centre;
    deltastore::write_keys(kernels_, page, target, format, shape, centre(taken, table), first, count, keys);
    deltastore::write_values(kernels_, page, target, format, shape, first, count, values);
    if (reference.gapped()) {
        std::memcpy(page + target.gaps, reference.page + source.gaps, kPageRows);
        std::memcpy(page + target.received, reference.page + source.received, kPageRows);
    }
    std::lock_guard<std::mutex> guard(mutex_);
    sequences_.replace(reference, page, format, kPageRows, first);
    reference.centre = taken;
    return Failure::none;
}

}  // namespace deltastore
