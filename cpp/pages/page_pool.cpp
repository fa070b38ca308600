#include "page_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstring>
#include <tuple>

namespace deltastore {

static constexpr size_t kSystemPage = 4096;
static constexpr uint32_t kNone = UINT32_MAX;

static size_t round_up(size_t value, size_t unit) {
    return (value + unit - 1) / unit * unit;
}

struct PagePool::SizeClass {
    size_t page_bytes;
    size_t header_bytes;
    uint32_t pages_per_slab;
    bool whole;            // made of whole system pages: a freed one goes back to the system at once
    Slab* all = nullptr;  // doubly linked; slabs with room come first

    // Bytes that the system has committed for a slab.
    size_t resident(size_t used, size_t touched) const {
        return round_up(header_bytes + (whole ? used : touched) * page_bytes, kSystemPage);
    }
};

// Lives at the start of its own mapping, which is aligned to its size, so a page finds it by masking its address.
struct PagePool::Slab {
    SizeClass* owner;
    Slab* previous;
    Slab* next;
    uint32_t used;
    uint32_t touched;    // pages ever handed out: the ones the system has committed
    uint32_t free_head;  // index of the first freed page; a free page's `references` is the next one's index
    uint64_t number;     // of no other slab of the process
    struct {
        uint32_t references, changes;
    } pages[1];

    uint8_t* page(uint32_t index) { return reinterpret_cast<uint8_t*>(this) + owner->header_bytes + index * owner->page_bytes; }
    uint32_t index_of(const uint8_t* page) const {
        return uint32_t((page - reinterpret_cast<const uint8_t*>(this) - owner->header_bytes) / owner->page_bytes);
    }
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

PagePool::PagePool(size_t limit_bytes) : limit_(limit_bytes) {}

PagePool::~PagePool() {
    for (auto& size_class : classes_) {
        for (Slab* slab = size_class->all; slab != nullptr;) {
            Slab* next = slab->next;
            munmap(slab, kSlabBytes);
            slab = next;
        }
    }
}

size_t PagePool::max_page_bytes() {
    return (kSlabBytes - kSystemPage) / 64 * 64;
}

PagePool::SizeClass& PagePool::size_class(size_t page_bytes) {
    for (auto& existing : classes_) {
        if (existing->page_bytes == page_bytes) return *existing;
    }
    classes_.push_back(std::make_unique<SizeClass>(new_class(page_bytes)));
    return *classes_.back();
}

PagePool::SizeClass PagePool::new_class(size_t page_bytes) {
    constexpr size_t kFixed = offsetof(Slab, pages), kEach = sizeof(Slab::pages[0]);
    const bool whole = page_bytes % kSystemPage == 0;
    const size_t alignment = whole ? kSystemPage : 64;
    size_t count = (kSlabBytes - kFixed) / (page_bytes + kEach);
    if (round_up(kFixed + count * kEach, alignment) + count * page_bytes > kSlabBytes) count--;
    return {page_bytes, round_up(kFixed + count * kEach, alignment), uint32_t(count), whole};
}

PagePool::Slab* PagePool::slab_of(const uint8_t* page) {
    return reinterpret_cast<Slab*>(reinterpret_cast<uintptr_t>(page) & ~(uintptr_t(kSlabBytes) - 1));
}

bool PagePool::within_limit(size_t more) const {
    if (limit_ == 0 || charged() + more <= limit_) return true;
    missing_ = charged() + more - limit_;
    return false;
}

bool PagePool::grow_resident(size_t bytes) {
    if (!within_limit(kReferenceBytes + bytes)) {
        hit_limit_ = true;
        return false;
    }
    resident_ += bytes;
    peak_ = std::max(peak_, resident_ + held_);
    return true;
}

PagePool::Slab* PagePool::map_slab(SizeClass& owner) {
    // Map twice the size, so that an aligned slab lies inside, and give the rest back.
    void* mapping = mmap(nullptr, 2 * kSlabBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        hit_limit_ = false;
        return nullptr;
    }
    const uintptr_t start = reinterpret_cast<uintptr_t>(mapping);
    const uintptr_t aligned = round_up(start, kSlabBytes);
    if (aligned > start) munmap(mapping, aligned - start);
    if (start + kSlabBytes > aligned) munmap(reinterpret_cast<void*>(aligned + kSlabBytes), start + kSlabBytes - aligned);
    // A huge page would commit what no page was handed out for. Where the kernel has none the call fails, and nothing is lost.
    madvise(reinterpret_cast<void*>(aligned), kSlabBytes, MADV_NOHUGEPAGE);
    Slab* slab = reinterpret_cast<Slab*>(aligned);
    static std::atomic<uint64_t> slabs{0};
    slab->number = ++slabs;
    slab->owner = &owner;
    slab->used = 0;
    slab->touched = 0;
    slab->free_head = kNone;
    return slab;
}

// What allocate() would do, and no less than its charges: slabs with room in their order, a slab's freed pages before its untouched ones, then new slabs.
bool PagePool::fits(const Demand& demand) const {
    if (limit_ == 0) return true;
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
    return within_limit(needed);
}

uint8_t* PagePool::allocate(size_t page_bytes) {
    assert(page_bytes % 64 == 0 && page_bytes > 0 && page_bytes <= max_page_bytes());
    SizeClass& owner = size_class(page_bytes);
    Slab* slab = owner.all;
    const bool fresh = slab == nullptr || slab->full();
    if (fresh) {
        if (!within_limit(kReferenceBytes + round_up(owner.header_bytes + page_bytes, kSystemPage))) {
            hit_limit_ = true;
            return nullptr;
        }
        slab = map_slab(owner);
        if (slab == nullptr) return nullptr;
    }
    return take(*slab, fresh);
}

// A page of a slab with room; nullptr at the limit.
uint8_t* PagePool::take(Slab& slab, bool fresh) {
    const size_t before = fresh ? 0 : slab.resident();
    const bool reuse = slab.free_head != kNone;
    slab.used++;
    slab.touched += !reuse;
    if (!grow_resident(slab.resident() - before)) {
        slab.used--;
        slab.touched -= !reuse;
        return nullptr;
    }
    const uint32_t index = reuse ? slab.free_head : slab.touched - 1;
    if (reuse) slab.free_head = slab.pages[index].references;
    if (fresh) slab.link_first();
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

uint8_t* PagePool::settle(uint8_t* page) {
    Slab* const own = slab_of(page);
    Slab* fullest = nullptr;
    for (Slab* slab = own->owner->all; slab != nullptr && !slab->full(); slab = slab->next)
        if (slab != own && slab->used >= (fullest ? fullest : own)->used) fullest = slab;
    const auto refused = std::pair(missing_, hit_limit_);  // of a request; that a page stays where it is is none
    uint8_t* moved = fullest ? take(*fullest, false) : nullptr;
    std::tie(missing_, hit_limit_) = refused;
    if (moved == nullptr) return page;
    std::memcpy(moved, page, own->owner->page_bytes);
    release(page);
    return moved;
}

void PagePool::retain(uint8_t* page) {
    Slab* slab = slab_of(page);
    slab->pages[slab->index_of(page)].references++;
}

uint32_t PagePool::references(const uint8_t* page) const {
    const Slab* slab = slab_of(page);
    return slab->pages[slab->index_of(page)].references;
}

void PagePool::changed(uint8_t* page) {
    Slab* slab = slab_of(page);
    slab->pages[slab->index_of(page)].changes++;
}

PageVersion PagePool::version(const uint8_t* page) const {
    const Slab* slab = slab_of(page);
    const uint32_t index = slab->index_of(page);
    return {slab->number, slab->pages[index].changes, uint16_t(index)};
}

void PagePool::release(uint8_t* page) {
    Slab* slab = slab_of(page);
    const uint32_t index = slab->index_of(page);
    assert(slab->pages[index].references > 0);
    if (--slab->pages[index].references > 0) return;
    pages_--;
    resident_ -= slab->resident();
    slab->used--;
    if (slab->used == 0) {
        slab->unlink();
        munmap(slab, kSlabBytes);
        return;
    }
    resident_ += slab->resident();
    if (slab->owner->whole) madvise(page, slab->owner->page_bytes, MADV_DONTNEED);
    const bool was_full = slab->full();
    slab->pages[index].references = slab->free_head;
    slab->free_head = index;
    if (was_full && slab != slab->owner->all) {
        slab->unlink();
        slab->link_first();
    }
}

}  // namespace deltastore
