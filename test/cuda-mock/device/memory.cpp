#include "memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>

namespace cuda_mock {

namespace {

constexpr size_t kRange = size_t(1) << 41;

size_t rounded_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

void* reserve(size_t bytes, int protection = PROT_NONE) {
    void* memory = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("the mock can't reserve addresses");
    return memory;
}

struct Memory {
    uint64_t addresses = reinterpret_cast<uint64_t>(reserve(kRange));  // what programs see
    uint8_t* bytes = static_cast<uint8_t*>(reserve(kRange));           // where it lies
    uint8_t* pages = static_cast<uint8_t*>(reserve(kRange / kPage, PROT_READ | PROT_WRITE));
    size_t reserved = kPage, used = 0;
    size_t total = size_t(std::getenv("CUDA_MOCK_MEMORY_MIB") ? std::atoll(std::getenv("CUDA_MOCK_MEMORY_MIB")) : 8192) << 20;
    std::map<uint64_t, size_t> allocations;
    std::map<uint64_t, size_t> pinned;
    std::recursive_mutex mutex;
};

Memory& memory() {
    static Memory* one = new Memory;  // outlives everything: libraries free their memory at exit
    return *one;
}

void populate(Memory& m, size_t offset, size_t bytes) {
    if (mprotect(m.bytes + offset, bytes, PROT_READ | PROT_WRITE) != 0) throw std::runtime_error("the mock gets no memory");
    std::memset(m.bytes + offset, 0xFF, bytes);
    std::memset(m.pages + offset / kPage, 1, bytes / kPage);
    m.used += bytes;
}

void drop(Memory& m, size_t offset, size_t bytes) {
    std::memset(m.pages + offset / kPage, 0, bytes / kPage);
    mmap(m.bytes + offset, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    m.used -= bytes;
}

}  // namespace

uint64_t allocate_device(size_t bytes) {
    Memory& m = memory();
    std::lock_guard lock(m.mutex);
    const size_t own = rounded_up(bytes == 0 ? 1 : bytes, 256), whole = rounded_up(own, kPage);
    if (m.used + whole > m.total) return 0;
    const size_t offset = m.reserved;
    m.reserved += whole + kPage;
    populate(m, offset, whole);
    const uint64_t address = m.addresses + offset + whole - own;  // ends where the page ends
    m.allocations[address] = whole;
    return address;
}

bool free_device(uint64_t address) {
    Memory& m = memory();
    std::lock_guard lock(m.mutex);
    const auto found = m.allocations.find(address);
    if (found == m.allocations.end()) return false;
    drop(m, (address - m.addresses) / kPage * kPage, found->second);
    m.allocations.erase(found);
    return true;
}

uint64_t reserve_addresses(size_t bytes) {
    Memory& m = memory();
    std::lock_guard lock(m.mutex);
    const size_t offset = rounded_up(m.addresses + m.reserved, kGranule) - m.addresses;
    m.reserved = offset + rounded_up(bytes, kGranule) + kPage;
    return m.addresses + offset;
}

bool map_memory(uint64_t address, size_t bytes) {
    Memory& m = memory();
    std::lock_guard lock(m.mutex);
    if (m.used + bytes > m.total || !is_device(address)) return false;
    populate(m, address - m.addresses, bytes);
    return true;
}

void unmap_memory(uint64_t address, size_t bytes) {
    Memory& m = memory();
    std::lock_guard lock(m.mutex);
    for (size_t offset = address - m.addresses, end = offset + bytes; offset < end; offset += kPage)
        if (m.pages[offset / kPage]) drop(m, offset, kPage);
}

void pin_host(const void* host, size_t bytes) {
    std::lock_guard lock(memory().mutex);
    memory().pinned[reinterpret_cast<uint64_t>(host)] = bytes;
}

bool unpin_host(const void* host) {
    std::lock_guard lock(memory().mutex);
    return memory().pinned.erase(reinterpret_cast<uint64_t>(host)) != 0;
}

static bool pinned(uint64_t address, size_t bytes) {
    std::lock_guard lock(memory().mutex);
    auto after = memory().pinned.upper_bound(address);
    if (after == memory().pinned.begin()) return false;
    --after;
    return address + bytes <= after->first + after->second;
}

bool is_pinned(const void* host) { return pinned(reinterpret_cast<uint64_t>(host), 1); }

bool is_device(uint64_t address) { return address - memory().addresses < kRange; }

void* device_bytes(uint64_t address, size_t bytes) {
    static Memory& m = memory();
    const uint64_t offset = address - m.addresses;
    if (offset >= kRange) return pinned(address, bytes) ? reinterpret_cast<void*>(address) : nullptr;
    if (bytes == 0) return m.bytes + offset;
    for (size_t page = offset / kPage, last = (offset + bytes - 1) / kPage; page <= last; page++)
        if (page >= kRange / kPage || !m.pages[page]) return nullptr;
    return m.bytes + offset;
}

size_t total_memory() { return memory().total; }

size_t free_memory() {
    std::lock_guard lock(memory().mutex);
    return memory().total - memory().used;
}

}  // namespace cuda_mock
