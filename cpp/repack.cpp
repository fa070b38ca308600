// A sequence's older rows in the format of a tier that it got later.
#include <cstring>

#include "cache.h"
#include "codec.h"
#include "plan.h"

namespace deltastore {

Failure Cache::repack(int sequence) {
    const Tier& own = tier(sequence);
    const int32_t end = sequences_.last_position(sequence) + 1;
    if (own.packs() && own_centre_ < 0) find_centre(sequence, end);
    if (!own.packs() || own_centre_ < 0) return Failure::none;  // too few rows
    {
        std::lock_guard<std::mutex> guard(mutex_);
        account();
    }
    std::vector<float> scratch;
    for (int table = 0; table < sequences_.tables(); table++) {
        const HeadShape& shape = sequences_.shape(table);
        scratch.resize(size_t(kPageRows) * (shape.key_dim + shape.value_dim));
        pack_table({sequence, 0, end}, table, scratch.data());
        for (PageRef& reference : sequences_.table(sequence, table)) {
            const bool exact = !format_info(reference.format).packed && reference.kind == PageKind::plain && reference.shift == 0 && reference.end_position() <= end - own.window;
            const Failure failure = exact && reference.end_row() == reference.rows ? no_page() : repack_reference(sequence, table, reference);
            if (failure != Failure::none) return failure;
        }
    }
    return Failure::none;
}

Failure Cache::no_page() const {
    return pool_.hit_limit() ? Failure::pool_limit : Failure::out_of_memory;
}

Failure Cache::repack_reference(int sequence, int table, PageRef& reference) {
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
    std::vector<float> keys(size_t(count) * shape.key_dim), values(size_t(count) * shape.value_dim);
    read_rows(reference.page, source, reference.format, shape, centre(reference.centre, table), first, count, keys.data(), values.data());
    const uint8_t taken = reference.centre == kNoCentre ? uint8_t(own_centre_) : reference.centre;
    deltastore::write_keys(kernels_, page, target, format, shape, centre(taken, table), first, count, keys.data());
    deltastore::write_values(kernels_, page, target, format, shape, first, count, values.data());
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
