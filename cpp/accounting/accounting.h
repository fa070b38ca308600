// What of the pool's limit is taken, and what may be asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "watching/watches.h"
#include "pages/centres.h"
#include "pages/sequence_table.h"
#include "tiers/tiers.h"

namespace deltastore {

// Tables, centres, sums and states share the limit with pages. All under the cache's lock.
class Accounting {
public:
    Accounting(const CacheOptions& options, const Tiers& tiers, SequenceTable& sequences, const Centres& centres, const Watches& watches)
        : rotate_(options.rotate), tiers_(tiers), sequences_(sequences), centres_(centres), watches_(watches) {}

    // Of tables, centres, sums and states.
    size_t own_bytes() const;
    // States of layers that are not in the cache, which its owner keeps for kept prefixes.
    size_t state_bytes() const { return state_bytes_; }
    void set_state_bytes(size_t bytes) { state_bytes_ = bytes; }
    // Tells the pool what these take now, and that sums of `tokens` more, and `more` bytes, are to come.
    void charge(size_t tokens = 0, size_t more = 0);

    // Rows that a sequence is to get, in pages of that format and centre.
    struct Append {
        int sequence;
        int32_t position;
        int count;
        Format format;
        uint8_t centre;
    };
    // Charges a whole batch, and tells whether there is room for it.
    bool reserve(const std::vector<Append>& batch);
    // Asks before a batch is put together: whether there is room for these rows, besides those admitted since begin_admission().
    void begin_admission();
    bool admit(const Append& rows);  // of a pool with a limit
    // Takes back what was admitted last.
    void withdraw();

private:
    struct Wanted {
        PagePool::Demand pages;
        std::vector<char> tiers;  // [tier]: whether a sequence with rows has it
        size_t tokens = 0;
    };
    // What sequences with rows may take at any time.
    Wanted begun() const;
    void add(const Append& rows, Wanted& wanted) const;
    PagePool::Demand demand_of(const Wanted& wanted) const;
    void expect(size_t tokens);

    const bool rotate_;
    const Tiers& tiers_;
    SequenceTable& sequences_;
    const Centres& centres_;
    const Watches& watches_;
    size_t state_bytes_ = 0;
    size_t growing_bytes_ = 0;   // sums, as charge() found them; they take an eighth more than they need
    size_t expected_bytes_ = 0;  // what may be added besides
    Wanted admitted_, admitted_before_;  // before: without the last rows
};

}  // namespace deltastore
