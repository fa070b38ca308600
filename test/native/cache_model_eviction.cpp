// What eviction and repacking may change: which rows may go and which stay, and how large the pages may be afterwards.
#include "cache_model.h"

#include <algorithm>
#include <cmath>

namespace deltastore {

void CacheModel::evict(int sequence, const Eviction& how, bool whole) {
    if (sequences[sequence].empty()) return;
    const auto before = tables();
    if (!extents[sequence].evicted) extents[sequence] = {true, sequences[sequence].front().position, next_position(sequence)};
    const ModelExtent& extent = extents[sequence];
    whole = cache.evict(sequence, how) && whole;
    const int32_t window_begin = extent.end - cache.tier(sequence).window;
    // Others hold the page too.
    const auto is_shared = [&](int index, const PageRef& reference) {
        for (size_t other = 0; other < before.size(); other++)
            for (const PageRef& its : before[other][index])
                if (int(other) != sequence && its.page == reference.page) return true;
        return false;
    };
    int32_t own_begin = extent.begin;
    for (int index = 0; index < cache.table().tables(); index++)
        for (const PageRef& reference : before[sequence][index]) {
            if (!is_shared(index, reference)) break;
            own_begin = std::max(own_begin, reference.end_position());
        }
    for (int index = 0; index < cache.table().tables(); index++) {
        std::set<int32_t> stay;
        for (const PageRef& reference : cache.table().table(sequence, index))
            for (int32_t position : positions_of(index, reference)) stay.insert(position);
        int had = 0, must = 0, uncounted = 0;
        for (const PageRef& reference : before[sequence][index]) {
            const bool shared = is_shared(index, reference);
            const Tier& tier = cache.tier(sequence);
            const bool stored = tier.packs() ? format_info(reference.format).packed : reference.format == tier.format;
            const bool stays = shared || reference.pinned() || !stored || reference.end_position() > window_begin;
            if (shared) CHECK(stay.count(reference.position) && stay.count(reference.end_position() - 1));
            if (stays && reference.position < own_begin) {
                uncounted += reference.count;
                continue;
            }
            had += reference.count;
            if (stays) must += reference.count;
        }
        int have = 0;
        for (ModelToken& token : sequences[sequence]) {
            if (token.evicted.count(index)) continue;
            const bool stays = stay.count(token.position) > 0;
            if (token.position >= window_begin || token.position < extent.begin + cache.tier(sequence).sinks) CHECK(stays);
            if (!stays) token.evicted.insert(index);
            have += stays;
        }
        CHECK_EQUAL(have, int(stay.size()));
        if (!whole || how.schedule != schedule_by_name("uniform")) continue;
        have -= uncounted;
        const int wanted = std::max(int(std::lround(how.keep * (extent.end - own_begin))), must);
        CHECK_AT_LEAST(have, std::min(had, wanted));
        CHECK_AT_MOST(have, std::min(had, wanted + cache.tier(sequence).sinks));
    }
}

size_t CacheModel::page_bytes(int sequence) const {
    size_t bytes = 0;
    for (int index = 0; index < cache.table().tables(); index++) {
        Page last = kNoPage;  // several references may show parts of a page
        for (const PageRef& reference : cache.table().table(sequence, index)) {
            if (reference.page != last) bytes += cache.table().layout(index, reference).bytes;
            last = reference.page;
        }
    }
    return bytes;
}

void CacheModel::repack(int sequence, int window) {
    const size_t before = page_bytes(sequence);
    const Failure failure = cache.repack(sequence, window);
    if (failure != Failure::none) CHECK(failure == Failure::pool_limit && cache.options().pool_limit != 0);
    size_t room = 0;
    for (int table = 0; table < cache.table().tables(); table++) {
        int32_t end = -1;
        for (const PageRef& reference : cache.table().table(sequence, table)) {
            if (reference.position != end) room += page_layout(Format::k4v4, cache.table().shape(table), kPageRows).bytes;
            end = reference.end_position();
        }
    }
    CHECK_AT_MOST(page_bytes(sequence), before + room);
}

}  // namespace deltastore
