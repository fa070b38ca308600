// How much attention the rows of a sequence received: what eviction judges them by.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace deltastore {

// Queries whose softmax weights are added up, row by row, as integers, so that the sums do not depend on the order in which threads add.
enum class WatchedQueries : uint8_t {
    none,
    all,  // one in four would do for less, but with two thirds of the rows kept the divergence that eviction adds is twice as large
    last  // the last kLastQueries of each ubatch, which forgets the ubatches before
};

inline constexpr int kLastQueries = 32;
inline constexpr float kWatchUnit = 1.0f / (1 << 20);

class Watch {
public:
    explicit Watch(int tables) : sums_(tables) {}

    // Makes room for rows [begin, end). Those before `begin` that are not known stay so.
    void extend(int32_t begin, int32_t end);
    void forget();  // sets all sums to zero
    void drop_before(int32_t position);

    // What happened to the sequence's rows.
    void erase(int32_t from, int32_t to);
    void shift(int32_t from, int32_t to, int32_t delta);

    // Rows from here on are known.
    int32_t begin() const { return begin_; }
    int32_t end() const { return begin_ + (sums_.empty() ? 0 : int32_t(sums_[0].size())); }
    // The sum of row `position`, in kWatchUnit.
    uint32_t* sum(int table, int32_t position) { return sums_[table].data() + (position - begin_); }
    const uint32_t* sum(int table, int32_t position) const { return sums_[table].data() + (position - begin_); }
    size_t bytes() const { return sums_.empty() ? 0 : sums_.size() * sums_[0].capacity() * sizeof(uint32_t); }

private:
    void cut(int32_t from, int32_t to);

    int32_t begin_ = 0;
    std::vector<std::vector<uint32_t>> sums_;  // [table][position - begin_]
};

}  // namespace deltastore
