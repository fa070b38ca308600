#include "page_pool.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <new>
#include <tuple>

namespace deltastore {

static constexpr size_t kSystemPage = 4096;
static constexpr uint32_t kNone = UINT32_MAX;

static size_t round_up(size_t value, size_t unit) {
    return (value + unit - 1) / unit * unit;
}

struct PagePool::SizeClass {
    size_t page_bytes;
    uint32_t pages_per_slab;
    bool whole;           // made of whole system pages: a freed one goes back to the system at once
    Slab* all = nullptr;  // doubly linked; slabs with room come first

    size_t header_bytes() const;
    // Bytes that a slab takes with its header.
    size_t resident(size_t used, size_t touched) const { return header_bytes() + round_up((whole ? used : touched) * page_bytes, kSystemPage); }
};

struct PagePool::Slab {
    SizeClass* owner;
    uint32_t index;    // in slabs_
    uint64_t number;   // of no other slab of the process
    std::unique_ptr<PageState[]> pages;
    Slab* previous = nullptr;
    Slab* next = nullptr;
    uint32_t used = 0;
    uint32_t touched = 0;  // pages ever handed out: the ones the system has committed
    uint32_t free_head = kNone;

    Page page(uint32_t at) const { return Place::page_at(index, at * owner->page_bytes); }
    uint32_t index_of(Page page) const { return uint32_t(Place::offset_of(page) / owner->page_bytes); }
    bool full() const { return free_head == kNone && touched == owner->pages_per_slab; }
    size_t resident() const { return owner->resident(used, touched); }

    void unlink() {
        (previous ? previous->next : owner->all) = next;
        if (next) next->previous = previous;
    }
    void link_first() {
        previous = nullptr;
        next = owner->all;
        if (next) next->previous = this;
        owner->all = this;
    }
    void link_after(Slab* other) {
        previous = other;
        next = other->next;
        if (next) next->previous = this;
        other->next = this;
    }
};

size_t PagePool::SizeClass::header_bytes() const {
    return sizeof(Slab) + pages_per_slab * sizeof(PageState);
}

size_t Budget::charged() const {
    size_t bytes = 0;
    for (const PagePool* pool : pools_) bytes += pool->charged();
    return bytes;
}

size_t Budget::promised_beside(const PagePool& pool) const {
    size_t bytes = 0;
    for (const PagePool* other : pools_)
        if (other != &pool) bytes += other->promised();
    return bytes;
}

PagePool::PagePool(Place& place, std::shared_ptr<Budget> budget) : place_(place), budget_(std::move(budget)) {
    std::lock_guard<std::mutex> guard(budget_->lock());
    budget_->join(*this);
}

PagePool::~PagePool() {
    {
        std::lock_guard<std::mutex> guard(budget_->lock());
        budget_->leave(*this);
    }
    for (const auto& slab : slabs_)
        if (slab) place_.take_back(slab->index);
}

PagePool::SizeClass& PagePool::size_class(size_t page_bytes) {
    for (auto& existing : classes_) {
        if (existing->page_bytes == page_bytes) return *existing;
    }
    classes_.push_back(std::make_unique<SizeClass>(new_class(page_bytes)));
    return *classes_.back();
}

PagePool::SizeClass PagePool::new_class(size_t page_bytes) {
    return {page_bytes, uint32_t(kSlabBytes / page_bytes), page_bytes % kSystemPage == 0};
}

PagePool::PageState& PagePool::state_of(Page page) const {
    Slab& slab = slab_of(page);
    return slab.pages[slab.index_of(page)];
}

bool PagePool::has_room(size_t more) const {
    const size_t limit = budget_->limit_bytes();
    if (limit == 0) return true;
    const size_t wanted = budget_->charged() + more;
    if (wanted <= limit) return true;
    missing_ = wanted - limit;
    return false;
}

// Without pages yet, and in no list. Null if there is no memory.
PagePool::Slab* PagePool::open_slab(SizeClass& owner) {
    static std::atomic<uint64_t> opened{0};
    try {
        if (free_numbers_.empty() && slabs_.size() == Place::kMostSlabs) return nullptr;
        const uint32_t index = free_numbers_.empty() ? uint32_t(slabs_.size()) : free_numbers_.back();
        auto slab = std::make_unique<Slab>(Slab{&owner, index, ++opened, std::unique_ptr<PageState[]>(new PageState[owner.pages_per_slab]())});
        if (free_numbers_.empty()) {
            if (slabs_.size() == slabs_.capacity()) slabs_.reserve(2 * slabs_.size() + 16);
            free_numbers_.reserve(slabs_.capacity());
            slabs_.emplace_back();
        } else {
            free_numbers_.pop_back();
        }
        if (!place_.give(index)) {
            free_numbers_.push_back(index);
            return nullptr;
        }
        headers_ += owner.header_bytes();
        return (slabs_[index] = std::move(slab)).get();
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

// Of which no page is used, and which is in no list.
void PagePool::close_slab(Slab& slab) {
    const uint32_t index = slab.index;
    headers_ -= slab.owner->header_bytes();
    place_.take_back(index);
    slabs_[index].reset();
    free_numbers_.push_back(index);
}

size_t PagePool::bytes_of(size_t page_bytes, size_t used, size_t touched) {
    const SizeClass owner = new_class(page_bytes);
    const size_t most = owner.pages_per_slab, full = used / most, rest = used % most;
    const size_t last = rest == 0 ? 0 : owner.resident(rest, std::min(std::max(used, touched) - full * most, most));
    return full * owner.resident(most, most) + last;
}

// What allocate() would do, and no less than its charges: slabs with room in their order, a slab's freed pages before its untouched ones, then new slabs.
size_t PagePool::needed(const Demand& demand) const {
    Demand sizes;  // each once
    for (const auto& [page_bytes, count] : demand) {
        const auto same = [size = page_bytes](const auto& other) { return other.first == size; };
        const auto found = std::find_if(sizes.begin(), sizes.end(), same);
        if (found == sizes.end()) sizes.emplace_back(page_bytes, count);
        else found->second += count;
    }
    size_t needed = 0;
    for (const auto& [page_bytes, count] : sizes) {
        SizeClass fresh = new_class(page_bytes);
        const SizeClass* owner = &fresh;
        for (const auto& existing : classes_)
            if (existing->page_bytes == page_bytes) owner = existing.get();
        size_t left = count;
        for (const Slab* slab = owner->all; slab != nullptr && !slab->full() && left > 0; slab = slab->next) {
            const size_t taken = std::min<size_t>(left, owner->pages_per_slab - slab->used);
            const size_t touched = std::max<size_t>(slab->touched, slab->used + taken);
            needed += owner->resident(slab->used + taken, touched) - slab->resident();
            left -= taken;
        }
        const size_t last = left % owner->pages_per_slab;
        needed += left / owner->pages_per_slab * owner->resident(owner->pages_per_slab, owner->pages_per_slab);
        if (last > 0) needed += owner->resident(last, last);
    }
    for (const auto& [page_bytes, count] : sizes) needed += count * kReferenceBytes;
    return needed;
}

Page PagePool::allocate(size_t page_bytes) {
    assert(page_bytes % Place::kUnit == 0 && page_bytes > 0 && page_bytes <= max_page_bytes());
    SizeClass& owner = size_class(page_bytes);
    Slab* slab = owner.all;
    if (slab == nullptr || slab->full()) {
        hit_limit_ = !has_room(kReferenceBytes + owner.resident(1, 1));
        if (hit_limit_) return kNoPage;
        slab = open_slab(owner);
        if (slab == nullptr) return kNoPage;
        resident_ += slab->resident();
        slab->link_first();
    }
    return take(*slab);
}

// A page of a slab with room; kNoPage at the limit, for which a new slab has room.
Page PagePool::take(Slab& slab) {
    const bool reuse = slab.free_head != kNone;
    const size_t more = slab.owner->resident(slab.used + 1, slab.touched + !reuse) - slab.resident();
    if (!has_room(kReferenceBytes + more)) {
        hit_limit_ = true;
        return kNoPage;
    }
    resident_ += more;
    peak_ = std::max(peak_, resident_ + held_);
    slab.used++;
    slab.touched += !reuse;
    const uint32_t index = reuse ? slab.free_head : slab.touched - 1;
    if (reuse) slab.free_head = slab.pages[index].references;
    slab.pages[index].references = 1;
    slab.pages[index].changes++;
    pages_++;
    if (slab.full() && slab.next != nullptr && !slab.next->full()) {  // keep those with room in front
        Slab* last_open = slab.next;
        while (last_open->next != nullptr && !last_open->next->full()) last_open = last_open->next;
        slab.unlink();
        slab.link_after(last_open);
    }
    return slab.page(index);
}

size_t PagePool::loose_bytes() const {
    size_t bytes = 0;
    for (const auto& size_class : classes_)
        for (const Slab* slab = size_class->whole ? nullptr : size_class->all; slab != nullptr && !slab->full(); slab = slab->next)
            bytes += (slab->touched - slab->used) * size_class->page_bytes;
    return bytes;
}

Page PagePool::settle(Page page) {
    Slab* const own = &slab_of(page);
    Slab* fullest = nullptr;
    for (Slab* slab = own->owner->all; slab != nullptr && !slab->full(); slab = slab->next)
        if (slab != own && slab->used >= (fullest ? fullest : own)->used) fullest = slab;
    const auto refused = std::pair(missing_, hit_limit_);  // of a request; that a page stays where it is is none
    const Page moved = fullest ? take(*fullest) : kNoPage;
    std::tie(missing_, hit_limit_) = refused;
    if (moved == kNoPage) return page;
    place_.copy(page, moved, own->owner->page_bytes);
    release(page);
    return moved;
}

PageVersion PagePool::version(Page page) const {
    const Slab& slab = slab_of(page);
    const uint32_t index = slab.index_of(page);
    return {slab.number, slab.pages[index].changes, uint16_t(index)};
}

void PagePool::release(Page page) {
    Slab& slab = slab_of(page);
    const uint32_t index = slab.index_of(page);
    assert(slab.pages[index].references > 0);
    if (--slab.pages[index].references > 0) return;
    pages_--;
    resident_ -= slab.resident();
    slab.used--;
    if (slab.used == 0) {
        slab.unlink();
        return close_slab(slab);
    }
    resident_ += slab.resident();
    if (slab.owner->whole) place_.forget(page, slab.owner->page_bytes);
    const bool was_full = slab.full();
    slab.pages[index].references = slab.free_head;
    slab.free_head = index;
    if (was_full && &slab != slab.owner->all) {
        slab.unlink();
        slab.link_first();
    }
}

}  // namespace deltastore
