// Random operations on a cache and its model: all that contexts ask for.
#pragma once

#include <set>
#include <vector>

#include "cache_model.h"

namespace deltastore {

// Ubatches of one to three sequences, whose tokens lie in runs.
inline std::vector<std::vector<Token>> any_ubatches(const CacheModel& model, Random& random) {
    std::vector<std::vector<Token>> ubatches(random.chance(0.3) ? random.between(2, 3) : 1);
    std::vector<int32_t> next;
    for (int s = 0; s < int(model.sequences.size()); s++) next.push_back(model.next_position(s));
    for (auto& tokens : ubatches) {
        std::set<int> chosen;
        for (int i = random.between(1, 3); i > 0; i--) chosen.insert(random.between(0, int(next.size()) - 1));
        for (int s : chosen) {
            if (random.chance(0.05)) next[s] += random.between(1, 3);  // a gap
            const int count = random.chance(0.3) ? random.between(100, 200) : random.chance(0.3) ? 1 : random.between(1, 70);
            for (int i = 0; i < count; i++) tokens.push_back({s, next[s]++});
        }
    }
    return ubatches;
}

// Appends, and checks that a refusal changes nothing. True if there was room.
inline bool append(CacheModel& model, Random& random) {
    const auto ubatches = any_ubatches(model, random);
    const auto before = model.tables();
    const size_t resident = model.cache.stats().resident_bytes - model.own_bytes();
    const Failure failure = model.reserve(ubatches);
    if (failure != Failure::none) {
        CHECK(failure == Failure::pool_limit);
        CHECK(model.cache.options().pool_limit != 0);
        CHECK(model.same_tables(before));
        CHECK_EQUAL(model.cache.stats().resident_bytes - model.own_bytes(), resident);
        return false;
    }
    const size_t computed = random.chance(0.15) ? random.between(0, int(ubatches.size())) : ubatches.size();
    for (size_t i = 0; i < computed; i++) {
        model.write(int(i), 1);
        model.finish(int(i));
    }
    model.abandon(ubatches, computed);
    return true;
}

// Drops tokens behind some first ones and moves the rest up, as a full context does; or moves the last ones away.
inline void shift(CacheModel& model, int sequence, Random& random) {
    if (model.sequences[sequence].empty()) return;
    const int32_t keep = random.between(0, model.next_position(sequence) - 1), drop = random.between(1, 80);
    if (random.chance(0.7)) {
        model.erase(sequence, keep, keep + drop);
        model.shift(sequence, keep + drop, INT32_MAX, -drop);
    } else {
        model.shift(sequence, keep, INT32_MAX, drop);
    }
}

inline void operate(CacheModel& model, Random& random) {
    const int count = int(model.sequences.size());
    const int sequence = random.between(0, count - 1);
    const int32_t end = model.next_position(sequence);
    const double kind = random.uniform();
    const auto& eviction = model.cache.tier(sequence).eviction;
    if (const int others = int(model.cache.options().others.size()); others > 0 && random.chance(0.1)) {
        if (random.chance(0.7)) model.change_tier(sequence, random.between(0, others), random.chance(0.7));
        else model.repack(sequence, random.between(0, model.cache.tier(sequence).window));
    } else if (eviction && random.chance(0.15)) {
        Eviction how = *eviction;
        how.keep = random.uniform();
        how.schedule = schedule_by_name(random.chance(0.5) ? "uniform" : random.chance(0.5) ? "shared" : "adaptive");
        model.evict(sequence, how, model.cache.options().pool_limit == 0);
    } else if (kind < 0.5) {
        if (!append(model, random)) model.erase(sequence, end / 2, INT32_MAX);
    } else if (kind < 0.6) {
        model.erase(sequence, random.between(0, end), INT32_MAX);
    } else if (kind < 0.7) {
        const int32_t from = random.between(0, end);
        model.erase(sequence, from, from + random.between(0, 90));
    } else if (kind < 0.82) {
        shift(model, sequence, random);
        if (random.chance(0.3)) shift(model, sequence, random);
    } else if (kind < 0.97) {
        const int target = random.between(0, count - 1);
        const int32_t from = random.chance(0.6) ? 0 : random.between(0, end), to = random.chance(0.6) ? INT32_MAX : random.between(0, end);
        const Failure failure = model.fork(sequence, target, from, to);
        if (failure != Failure::none) CHECK(failure == Failure::pool_limit);
    } else if (random.chance(0.3)) {
        model.clear();
    } else {
        model.erase(sequence, 0, INT32_MAX);
    }
    if (random.chance(0.2)) return;  // with shifts that keys have not followed
    for (int victim = 0; model.apply_shifts() != Failure::none && victim < count; victim++) {
        CHECK(model.has_shift());
        model.erase(victim, 0, INT32_MAX);
    }
}

}  // namespace deltastore
