#include "sharing.h"

#include <algorithm>

namespace deltastore {

// Parts of one's own that show the page as well are neighbours; where a shift parted them, the page counts as shared.
bool Sharing::shared(int sequence, int table, const PageRef& reference) const {
    const PageTable& own = sequences_.table(sequence, table);
    const PageRef *first = &reference, *last = &reference;
    while (first != own.data() && (first - 1)->page == reference.page) first--;
    while (last + 1 != own.data() + own.size() && (last + 1)->page == reference.page) last++;
    uint32_t known = uint32_t(last - first + 1);
    if (const auto held = held_.empty() ? held_.end() : held_.find(reference.page); held != held_.end()) known += held->second;
    return sequences_.pool().references(reference.page) > known;
}

int32_t Sharing::shared_end(int sequence) const {
    int32_t end = sequences_.first_position(sequence);
    for (int table = 0; table < sequences_.tables(); table++)
        for (const PageRef& reference : sequences_.table(sequence, table)) {
            if (!shared(sequence, table, reference)) break;
            end = std::max(end, reference.end_position());
        }
    return end;
}

void Sharing::hold(const std::vector<PageTable>& tables) {
    for (const PageTable& table : tables)
        for (const PageRef& reference : table) held_.try_emplace(reference.page, 0);  // may throw; what is held by none is not held
    for (const PageTable& table : tables)
        for (const PageRef& reference : table) {
            held_[reference.page]++;
            sequences_.retain(reference);
        }
}

void Sharing::release(std::vector<PageTable>& tables) {
    for (const PageTable& table : tables)
        for (const PageRef& reference : table)
            if (const auto held = held_.find(reference.page); --held->second == 0) held_.erase(held);
    sequences_.discard(tables);
}

}  // namespace deltastore
