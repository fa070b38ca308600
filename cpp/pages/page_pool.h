// Reference-counted pages out of slabs that go back to their place when their last page is freed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "budget.h"
#include "place.h"

namespace deltastore {

enum class Failure { none, pool_limit, out_of_memory };

// Pages of the same version have the same bytes, in all pools of the process, provided that changed() is told of every change.
struct PageVersion {
    uint64_t slab;
    uint32_t changes;
    uint16_t page;
};

// Not thread safe: the cache calls it under its own lock. The place must outlive it.
class PagePool {
public:
    static constexpr size_t kSlabBytes = Place::kSlabBytes;
    static constexpr size_t kReferenceBytes = 24;  // of a page in its holder's table, with the table's room to grow

    // The budget's limit bounds what is charged: resident bytes, and what the pages' holders need besides.
    PagePool(Place& place, std::shared_ptr<Budget> budget);
    PagePool(Place& place, size_t limit_bytes) : PagePool(place, std::make_shared<Budget>(limit_bytes)) {}
    ~PagePool();
    PagePool(const PagePool&) = delete;
    PagePool& operator=(const PagePool&) = delete;

    Place& place() const { return place_; }

    // The largest page a slab can hold.
    static constexpr size_t max_page_bytes() { return kSlabBytes; }

    // What the pages' holders take now, and what they may come to need. Pages allocated after set_held() are charged with kReferenceBytes each.
    void set_held(size_t bytes) {
        held_ = bytes;
        counted_pages_ = pages_;
    }
    void set_reserved(size_t bytes) { reserved_ = bytes; }

    // Makes room for the bookkeeping of a page size, so that allocate() can't throw for it.
    void prepare(size_t page_bytes) { size_class(page_bytes); }

    // A page with one reference, contents undefined. kNoPage when the limit would be passed or there is no memory; refusal() tells which.
    Page allocate(size_t page_bytes);
    // Moves a page into a fuller slab, if there is one, so that others empty; returns where it is now. The page must have one holder.
    Page settle(Page page);
    // Bytes of freed pages in slabs that hold others, which the system has not got back.
    size_t loose_bytes() const;
    using Demand = std::vector<std::pair<size_t, size_t>>;  // pages of these (bytes, count)
    // What the demand would be charged with.
    size_t needed(const Demand& demand) const;
    // Whether the limit has room for as many bytes more.
    bool has_room(size_t more) const;
    bool fits(const Demand& demand) const { return limit_bytes() == 0 || has_room(needed(demand)); }
    // What admitted rows will need. Other pools of the budget leave it free for them.
    void promise(size_t bytes) { promised_ = bytes; }
    size_t promised() const { return promised_; }
    // What `used` pages of a size take where `touched` were in use before: in as few slabs as can be.
    static size_t bytes_of(size_t page_bytes, size_t used, size_t touched);
    void retain(Page page) { state_of(page).references++; }
    void release(Page page);
    uint32_t references(Page page) const { return state_of(page).references; }
    // Bytes of a page that had a version before are others now, or are about to be.
    void changed(Page page) { state_of(page).changes++; }
    PageVersion version(Page page) const;

    // Of slabs, as far as the system has committed them, and of what is known of their pages. Lists of slabs are not counted: some 20 bytes a slab,
    // and 12 KiB a pool.
    size_t resident_bytes() const { return resident_; }
    // Of these, what is known of pages.
    size_t header_bytes() const { return headers_; }
    // The most that pages and holders took, as far as the latter told.
    size_t peak_bytes() const { return peak_; }
    size_t pages() const { return pages_; }
    const Budget& budget() const { return *budget_; }
    size_t limit_bytes() const { return budget_->limit_bytes(); }
    size_t charged() const { return resident_ + held_ + reserved_ + (pages_ > counted_pages_ ? (pages_ - counted_pages_) * kReferenceBytes : 0); }
    // Why allocate() gave no page the last time.
    Failure refusal() const { return hit_limit_ ? Failure::pool_limit : Failure::out_of_memory; }
    // What the last question or allocate() that the limit refused was short of.
    size_t missing_bytes() const { return missing_; }

private:
    struct PageState {
        uint32_t references, changes;  // of a free page, `references` is the index of the next free one
    };
    struct Slab;
    struct SizeClass;

    SizeClass& size_class(size_t page_bytes);
    static SizeClass new_class(size_t page_bytes);
    Slab* open_slab(SizeClass& owner);
    void close_slab(Slab& slab);
    Page take(Slab& slab);
    Slab& slab_of(Page page) const { return *slabs_[Place::slab_of(page)]; }
    PageState& state_of(Page page) const;

    Place& place_;
    std::vector<std::unique_ptr<SizeClass>> classes_;
    std::vector<std::unique_ptr<Slab>> slabs_;  // by number; null where there is none
    std::vector<uint32_t> free_numbers_;        // of those; has room for all
    const std::shared_ptr<Budget> budget_;
    size_t promised_ = 0;
    size_t resident_ = 0;
    size_t headers_ = 0;
    size_t held_ = 0;
    size_t reserved_ = 0;
    size_t peak_ = 0;
    size_t pages_ = 0;
    size_t counted_pages_ = 0;
    bool hit_limit_ = false;
    mutable size_t missing_ = 0;
};

}  // namespace deltastore
