// How much attention the rows of a sequence received: what eviction judges them by.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "byte_io.h"
#include "tiers/watched_queries.h"

namespace deltastore {

inline constexpr int kLastQueries = 32;
inline constexpr int kWatchStep = 4;
inline constexpr float kWatchUnit = 1.0f / (1 << 16);

class Watch {
public:
    explicit Watch(int tables) : tables_(tables) {}

    // Makes room for rows [begin, end). Those before `begin` that are not known stay so.
    void extend(int32_t begin, int32_t end);
    // Sets all sums to zero; `queries` will be watched.
    void restart(int queries);
    int queries() const { return queries_; }
    void drop_before(int32_t position);

    // From many threads. Sums stop at their largest value, which heavy rows reach after 65,536 queries at least.
    void add(int table, int32_t position, float weight) {
        const uint32_t more = uint32_t(weight * (1 / kWatchUnit) + 0.5f);
        if (more == 0) return;
        uint32_t* at = sum(table, position);
        uint32_t before = __atomic_load_n(at, __ATOMIC_RELAXED), after;
        do after = before > UINT32_MAX - more ? UINT32_MAX : before + more;
        while (!__atomic_compare_exchange_n(at, &before, after, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    }

    // What happened to the sequence's rows.
    void erase(int32_t from, int32_t to);
    void shift(int32_t from, int32_t to, int32_t delta);

    // i32 first row, i32 queries, u32 rows, per table and row u32.
    void write(Writer& writer) const;
    // Of a sequence that ends at `sequence_end`, from what has no more than `bytes`. Throws CodedError STATE_DAMAGED.
    void read(Reader& reader, int32_t sequence_end, size_t bytes);

    // Rows from here on are known.
    int32_t begin() const { return begin_; }
    int32_t end() const { return begin_ + (sums_.empty() ? 0 : int32_t(sums_[0].size())); }
    // The sum of row `position`, in kWatchUnit.
    uint32_t* sum(int table, int32_t position) { return sums_[table].data() + (position - begin_); }
    const uint32_t* sum(int table, int32_t position) const { return sums_[table].data() + (position - begin_); }
    size_t bytes() const { return sums_.size() * (sizeof(sums_[0]) + (sums_.empty() ? 0 : sums_[0].capacity() * sizeof(uint32_t))); }
    // Of the first row.
    static size_t least_bytes(int tables) { return tables * sizeof(std::vector<uint32_t>); }

private:
    void cut(int32_t from, int32_t to);

    int tables_;
    int32_t begin_ = 0;
    int queries_ = 0;  // since the last restart
    std::vector<std::vector<uint32_t>> sums_;  // [table][position - begin_]; no table until there is a row
};

}  // namespace deltastore
