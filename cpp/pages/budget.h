// What the caches of one context share: the limit of their pools, and the lock.
#pragma once

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <vector>

namespace deltastore {

class PagePool;

// All but the lock itself is under the lock.
class Budget {
public:
    explicit Budget(size_t limit_bytes) : limit_(limit_bytes) {}
    Budget(const Budget&) = delete;
    Budget& operator=(const Budget&) = delete;

    std::mutex& lock() { return mutex_; }
    // Of all pools together; 0 is none.
    size_t limit_bytes() const { return limit_; }

    void join(const PagePool& pool) { pools_.push_back(&pool); }
    void leave(const PagePool& pool) { pools_.erase(std::remove(pools_.begin(), pools_.end(), &pool), pools_.end()); }
    // What the pools are charged with.
    size_t charged() const;
    // What pools but this one were promised for a batch that is put together.
    size_t promised_beside(const PagePool& pool) const;

private:
    std::mutex mutex_;
    const size_t limit_;
    std::vector<const PagePool*> pools_;
};

}  // namespace deltastore
