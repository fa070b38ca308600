#include "packer.h"

#include <algorithm>

namespace deltastore {

void Packer::layer_done(int layer, Plan& plan) const {
    int unset = -1;
    plan.next_pack[layer].compare_exchange_strong(unset, 0, std::memory_order_relaxed);
}

void Packer::pack_layer(int layer, Plan& plan, float* scratch) {
    if (centres_.own() < 0 || plan.next_pack[layer].load(std::memory_order_relaxed) < 0) return;
    const int kv_heads = layers_[layer].kv_heads, items = kv_heads * int(plan.written.size());
    for (;;) {
        const int item = plan.next_pack[layer].fetch_add(1, std::memory_order_relaxed);
        if (item >= items) return;
        const Written& written = plan.written[item / kv_heads];
        if (tiers_.of(written.sequence).packs()) pack_table(written, layers_.table(layer, item % kv_heads), scratch);
    }
}

void Packer::finish(const Plan& plan, float* scratch) {
    for (const Written& written : plan.written) {
        if (!tiers_.of(written.sequence).packs()) continue;
        if (centres_.own() < 0) find_centre(written.sequence, written.end);
        if (centres_.own() < 0) continue;
        for (int table = 0; table < sequences_.tables(); table++) pack_table(written, table, scratch);
        if (tiers_.of(written.sequence).watched() != WatchedQueries::some) continue;
        std::lock_guard<std::mutex> guard(lock_);
        watches_.of(written.sequence).drop_before(first_open(written.sequence));
    }
}

int32_t Packer::first_open(int sequence) const {
    int32_t first = sequences_.last_position(sequence) + 1;
    for (int table = 0; table < sequences_.tables(); table++) {
        const PageTable& references = sequences_.table(sequence, table);
        for (size_t i = references.size(); i > 0 && !references[i - 1].pinned() && !references[i - 1].packed(); i--)
            first = std::min(first, references[i - 1].position);
    }
    return first;
}

void Packer::pack_table(const Written& written, int table, float* scratch) {
    PageTable& references = sequences_.table(written.sequence, table);
    // What is older than a packed page was packed before, unless this ubatch opened that page (window 0).
    size_t first = references.size();
    while (first > 0 && !(references[first - 1].packed() && references[first - 1].position < written.begin)) first--;
    size_t count = references.size();
    for (size_t i = first; i < count; i++) {
        if (waits(written, table, references, i)) continue;
        if (!pack_reference(written, table, references, i, scratch)) return;  // tried again after the next ubatch
        if (references.size() < count) i--;
        count = references.size();
    }
}

// Whether rows stay as they are for now.
bool Packer::waits(const Written& written, int table, const PageTable& references, size_t index) const {
    const PageRef& reference = references[index];
    if (reference.pinned() || reference.gapped() || reference.packed() || reference.shift != 0) return true;
    if (reference.end_position() > written.end - written.window) return true;
    if (index + 1 == references.size() && reference.end_row() < reference.rows) return true;  // more rows will join them
    if (!written.spares_shared) return false;
    std::lock_guard<std::mutex> guard(lock_);
    return sharing_.shared(written.sequence, table, reference);
}

// Under the lock: rows that the packed page before a reference has room for.
int Packer::room_before(const PageTable& references, size_t index, Format format) const {
    if (index == 0) return 0;
    const PageRef& before = references[index - 1];
    const bool joins = before.kind == PageKind::plain && before.format == format && before.centre == centres_.own() && before.shift == 0 &&
                       before.end_position() == references[index].position && sequences_.pool().references(before.page) == 1;
    return joins ? before.rows - before.end_row() : 0;
}

// Rows go behind those of the packed page before them while it has room, and then into a new one. False if there is none.
bool Packer::pack_reference(const Written& written, int table, PageTable& references, size_t index, float* scratch) {
    const HeadShape& shape = sequences_.shape(table);
    const Format format = tiers_.of(written.sequence).format;
    const PageLayout& layout = sequences_.layout(table, format, kPageRows);
    const PageRef reference = references[index];
    Place& place = sequences_.place();
    int joining = 0;
    Page page = kNoPage;
    {
        std::lock_guard<std::mutex> guard(lock_);
        joining = std::min<int>(reference.count, room_before(references, index, format));
        if (joining > 0) sequences_.pool().changed(references[index - 1].page);
        if (joining < reference.count) {
            page = sequences_.allocate(layout);
            if (page == kNoPage) return false;
            place.clear(page, layout.bytes);  // state files hold whole pages
        }
    }
    float weights[kPageRows];
    if (layout.refined > 0) received(written, table, reference, weights);
    const Rows rows = sequences_.rows(table, reference);
    const auto pack = [&](Page target, int target_row, int first, int count) {
        if (count == 0) return;
        place.run(PackRows{shape, rows.part(first, count), {target, &layout, format, target_row, count}, centres_.at(uint8_t(centres_.own()), table),
                           layout.refined > 0 ? weights + first : nullptr}, scratch);
    };
    const int rest = reference.count - joining;
    if (joining > 0) pack(references[index - 1].page, references[index - 1].end_row(), 0, joining);
    pack(page, 0, joining, rest);

    std::lock_guard<std::mutex> guard(lock_);
    if (joining > 0) references[index - 1].count = uint8_t(references[index - 1].count + joining);
    if (rest == 0) {
        sequences_.release(reference);
        references.erase(references.begin() + index);
        return true;
    }
    PageRef& moved = references[index];
    moved.position += joining;
    moved.count = uint8_t(rest);
    moved.centre = uint8_t(centres_.own());
    sequences_.replace(moved, page, format, kPageRows, 0);
    return true;
}

// What a reference's rows received from each query; 0 where nothing is known. Where only some queries are watched, every row was seen by equally
// many, so that sums are compared.
void Packer::received(const Written& written, int table, const PageRef& reference, float* weights) const {
    const Watch& watch = watches_.of(written.sequence);
    const bool all_queries = tiers_.of(written.sequence).watched() == WatchedQueries::all;
    for (int r = 0; r < reference.count; r++) {
        const int32_t at = reference.position + r;
        const bool known = at >= watch.begin() && at < watch.end();
        weights[r] = known ? float(*watch.sum(table, at)) / (all_queries ? float(written.end - at) : 1.0f) : 0.0f;
    }
}

void Packer::find_centre(int sequence, int32_t end) {
    std::vector<float> means(centres_.floats(), 0.0f), keys;
    for (int table = 0; table < sequences_.tables(); table++) {
        const HeadShape& shape = sequences_.shape(table);
        const int dim = shape.key_dim;
        float* mean = means.data() + centres_.offset(table);
        int known = 0;
        for (const PageRef& reference : sequences_.table(sequence, table)) {
            const int count = std::min<int>(reference.count, end - reference.position);
            if (reference.pinned() || reference.packed() || count <= 0) continue;
            keys.resize(size_t(count) * dim);
            sequences_.place().run(ReadRows{shape, sequences_.rows(table, reference).part(0, count), nullptr, keys.data(), nullptr}, nullptr);
            for (int r = 0; r < count; r++)
                for (int d = 0; d < dim; d++) mean[d] += keys[r * dim + d];
            known += count;
        }
        if (known < kCentreRows) return;
        for (int d = 0; d < dim; d++) mean[d] /= float(known);
    }
    std::lock_guard<std::mutex> guard(lock_);
    centres_.set_own(sequences_.add_centre(centres_, means));
}

}  // namespace deltastore
