// Where the bytes of pages lie. Tables, pool, packing, eviction and snapshots know pages by handle only, and leave their bytes to a place. The one
// place is the processor's memory (HostPlace). The graph's two operations, RowWriter and Attention, are kernels of that place and take it as it is;
// a device would bring its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "byte_io.h"
#include "work.h"

namespace deltastore {

class Place {
public:
    static constexpr size_t kSlabBytes = size_t(1) << 19;
    static constexpr size_t kUnit = 64;  // bytes; pages begin at multiples of it
    static constexpr uint32_t kUnitsPerSlab = kSlabBytes / kUnit;
    static constexpr uint32_t kMostSlabs = UINT32_MAX / kUnitsPerSlab;  // so kNoPage lies in none

    virtual ~Place() = default;

    static Page page_at(uint32_t slab, size_t offset) { return Page(slab * kUnitsPerSlab + uint32_t(offset / kUnit)); }
    static uint32_t slab_of(Page page) { return uint32_t(page) / kUnitsPerSlab; }
    static size_t offset_of(Page page) { return uint32_t(page) % kUnitsPerSlab * kUnit; }

    // kSlabBytes of memory for a slab's pages, contents undefined. False if there is none.
    virtual bool give(uint32_t slab) = 0;
    virtual void take_back(uint32_t slab) = 0;
    // A freed page's bytes, whole system pages, may go back to the system while their slab stays.
    virtual void forget(Page page, size_t bytes) = 0;

    // Hands bytes of a page on in order, in one or more pieces, from where they lie.
    virtual void read(Page page, size_t offset, size_t bytes, const WriteBytes& to) const = 0;
    // Has bytes of a page filled in order, in one or more pieces. What `from` throws is passed on.
    virtual void write(Page page, size_t offset, size_t bytes, const ReadBytes& from) = 0;
    virtual void copy(Page source, Page target, size_t bytes) = 0;
    virtual void clear(Page page, size_t bytes) = 0;

    // Work on rows, done when this returns. `scratch`: floats for the keys and values of a page; of use where the processor does the work.
    // Works on different pages may run at once.
    virtual void run(const Work& work, float* scratch) = 0;

    void read(Page page, size_t offset, size_t bytes, void* target) const {
        uint8_t* at = static_cast<uint8_t*>(target);
        read(page, offset, bytes, [&at](const void* piece, size_t count) {
            std::memcpy(at, piece, count);
            at += count;
        });
    }
};

}  // namespace deltastore
