// Reference-counted pages out of slabs that go back to the system when their last page is freed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace deltastore {

// Two pages of the same version have the same bytes, in all pools of the process, as long as changed() tells of what changes.
struct PageVersion {
    uint64_t slab;
    uint32_t changes;
    uint16_t page;
};

// Not thread safe: the cache calls it under its own lock. A page's address stays the same for its life.
class PagePool {
public:
    static constexpr size_t kSlabBytes = size_t(1) << 19;
    static constexpr size_t kReferenceBytes = 32;  // of a page in its holder's table, with the table's room to grow

    // `limit_bytes` bounds what is charged: resident bytes, and what the pages' holders need besides; 0 is no limit.
    explicit PagePool(size_t limit_bytes);
    ~PagePool();
    PagePool(const PagePool&) = delete;
    PagePool& operator=(const PagePool&) = delete;

    // The largest page a slab can hold.
    static size_t max_page_bytes();

    // What the holders hold now, and what they may come to need. Pages allocated after set_held() are charged with kReferenceBytes each.
    void set_held(size_t bytes) {
        held_ = bytes;
        counted_pages_ = pages_;
    }
    void set_reserved(size_t bytes) { reserved_ = bytes; }

    // Makes room for the bookkeeping of a page size, so that allocate() takes no memory of its own for it.
    void prepare(size_t page_bytes) { size_class(page_bytes); }

    // A page with one reference, contents undefined, 64-byte aligned. nullptr when the limit would be passed or the system
    // has no memory; hit_limit() tells which.
    uint8_t* allocate(size_t page_bytes);
    // Moves a page into a slab that is fuller, if there is one, so that the others empty, and tells where it is. Its holder must be the only one.
    uint8_t* settle(uint8_t* page);
    // Bytes of freed pages in slabs that hold others, which the system has not got back.
    size_t loose_bytes() const;
    // Whether pages of these (bytes, count) would all be had within the limit.
    using Demand = std::vector<std::pair<size_t, size_t>>;
    bool fits(const Demand& demand) const;
    void retain(uint8_t* page);
    void release(uint8_t* page);
    uint32_t references(const uint8_t* page) const;
    // Bytes of a page that had a version before are others now, or are about to be.
    void changed(uint8_t* page);
    PageVersion version(const uint8_t* page) const;

    size_t resident_bytes() const { return resident_; }
    // The most that pages and holders took, as far as the latter told.
    size_t peak_bytes() const { return peak_; }
    size_t pages() const { return pages_; }
    size_t limit_bytes() const { return limit_; }
    bool hit_limit() const { return hit_limit_; }
    // What the last fits() or allocate() that the limit refused was short of.
    size_t missing_bytes() const { return missing_; }

private:
    struct Slab;
    struct SizeClass;

    SizeClass& size_class(size_t page_bytes);
    static SizeClass new_class(size_t page_bytes);
    Slab* map_slab(SizeClass& owner);
    uint8_t* take(Slab& slab, bool fresh);
    static Slab* slab_of(const uint8_t* page);
    bool within_limit(size_t more) const;
    bool grow_resident(size_t bytes);
    size_t charged() const { return resident_ + held_ + reserved_ + (pages_ > counted_pages_ ? (pages_ - counted_pages_) * kReferenceBytes : 0); }

    std::vector<std::unique_ptr<SizeClass>> classes_;
    size_t limit_;
    size_t resident_ = 0;
    size_t held_ = 0;
    size_t reserved_ = 0;
    size_t peak_ = 0;
    size_t pages_ = 0;
    size_t counted_pages_ = 0;
    bool hit_limit_ = false;
    mutable size_t missing_ = 0;
};

}  // namespace deltastore
