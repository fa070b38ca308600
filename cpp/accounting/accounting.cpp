#include "accounting.h"

#include <utility>

namespace deltastore {

size_t Accounting::own_bytes() const {
    size_t bytes = sequences_.bookkeeping_bytes() + centres_.bytes() + state_bytes_;
    for (int sequence = 0; sequence < sequences_.sequences(); sequence++) bytes += watches_.bytes(sequence);
    return bytes;
}

void Accounting::charge(size_t tokens, size_t more) {
    sequences_.pool().set_held(own_bytes());
    size_t begun = 0;
    growing_bytes_ = 0;
    for (int sequence = 0; sequence < sequences_.sequences(); sequence++) {
        const size_t bytes = watches_.bytes(sequence);
        growing_bytes_ += bytes;
        if (bytes == 0 && watches_.wanted(sequence)) begun += Watch::least_bytes(sequences_.tables());
    }
    expected_bytes_ = begun + (centres_.own() < 0 && rotate_ ? centres_.floats() * sizeof(float) : 0) + more;
    expect(tokens);
}

void Accounting::expect(size_t tokens) {
    const size_t sums = tokens * sequences_.tables() * sizeof(uint32_t);
    sequences_.pool().set_reserved(expected_bytes_ + sums + (growing_bytes_ + sums) / 8);
}

Accounting::Wanted Accounting::begun() const {
    Wanted wanted;
    wanted.tiers.resize(tiers_.count());
    for (int sequence = 0; sequence < sequences_.sequences(); sequence++)
        if (sequences_.last_position(sequence) >= 0) wanted.tiers[tiers_.index_of(sequence)] = 1;
    return wanted;
}

void Accounting::add(const Append& rows, Wanted& wanted) const {
    sequences_.add_demand(rows.sequence, rows.position, rows.count, rows.format, rows.centre, wanted.pages);
    wanted.tiers[tiers_.index_of(rows.sequence)] = 1;
    wanted.tokens += rows.count;
}

// Within the limit there must be room to pack as well, and to evict: one page a table, before others are given back.
PagePool::Demand Accounting::demand_of(const Wanted& wanted) const {
    PagePool::Demand demand = wanted.pages;
    for (int index = 0; index < tiers_.count(); index++) {
        const Tier& tier = tiers_.at(index);
        if (!wanted.tiers[index]) continue;
        for (const bool gapped : {false, true})
            if (gapped ? tier.eviction.has_value() : tier.packs())
                for (int table = 0; table < sequences_.tables(); table++)
                    demand.emplace_back(sequences_.layout(table, tier.format, kPageRows, gapped).bytes, 1);
    }
    return demand;
}

bool Accounting::reserve(const std::vector<Append>& batch) {
    size_t tokens = 0;
    for (const Append& rows : batch) tokens += rows.count;
    charge(tokens);
    sequences_.pool().promise(0);
    if (sequences_.pool().limit_bytes() == 0) return true;
    Wanted wanted = begun();
    for (const Append& rows : batch) add(rows, wanted);
    return sequences_.pool().fits(demand_of(wanted));
}

void Accounting::begin_admission() {
    if (sequences_.pool().limit_bytes() == 0) return;
    admitted_ = begun();
    charge();
    sequences_.pool().promise(0);
}

bool Accounting::admit(const Append& rows) {
    if (admitted_.tiers.empty()) admitted_ = begun();
    Wanted wanted = admitted_;
    add(rows, wanted);
    expect(wanted.tokens);
    PagePool& pool = sequences_.pool();
    const size_t needed = pool.needed(demand_of(wanted));
    if (!pool.has_room(needed + pool.budget().promised_beside(pool))) {
        expect(admitted_.tokens);
        return false;
    }
    pool.promise(needed);
    admitted_before_ = std::exchange(admitted_, std::move(wanted));
    return true;
}

void Accounting::withdraw() {
    admitted_ = std::move(admitted_before_);
    expect(admitted_.tokens);
    sequences_.pool().promise(sequences_.pool().needed(demand_of(admitted_)));
}

}  // namespace deltastore
