// What each sequence knows of the attention that its rows received.
#pragma once

#include <algorithm>
#include <vector>

#include "pages/sequence_table.h"
#include "tiers/tiers.h"
#include "watch.h"

namespace deltastore {

// One watch a sequence; empty if its tier asks for none. Changed under the cache's lock; while a batch is computed, its threads read and add to
// the watches of its sequences without it.
class Watches {
public:
    Watches(const Tiers& tiers, const SequenceTable& sequences)
        : tiers_(tiers), sequences_(sequences), watches_(sequences.sequences(), Watch(sequences.tables())) {}

    Watch& of(int sequence) { return watches_[sequence]; }
    const Watch& of(int sequence) const { return watches_[sequence]; }
    bool wanted(int sequence) const { return tiers_.of(sequence).watched() != WatchedQueries::none; }
    void forget(int sequence) { watches_[sequence] = Watch(sequences_.tables()); }

    // Makes room for rows [begin, end), which a ubatch brings.
    void begin_ubatch(int sequence, int32_t begin, int32_t end) {
        if (!wanted(sequence)) return;
        watches_[sequence].extend(begin, end);
        if (tiers_.of(sequence).watched() == WatchedQueries::last) watches_[sequence].restart(std::min(end - begin, kLastQueries));
    }

    // What happened to the sequence's rows, which are as they are after it.
    void erase(int sequence, int32_t from, int32_t to) {
        watches_[sequence].erase(from, to);
        end(sequence);
    }
    void shift(int sequence, int32_t from, int32_t to, int32_t delta) { watches_[sequence].shift(from, to, delta); }
    // The target took over the source's rows before `to`.
    void fork(int source, int target, int32_t to) {
        if (tiers_.of(target).watched() == tiers_.of(source).watched()) watches_[target] = watches_[source];
        else forget(target);
        watches_[target].erase(to, INT32_MAX);
        end(target);
    }
    void replace(int sequence, Watch watch) { watches_[sequence] = std::move(watch); }

    size_t bytes(int sequence) const { return watches_[sequence].bytes(); }

private:
    // With the last rows go the holes before them.
    void end(int sequence) { watches_[sequence].erase(sequences_.last_position(sequence) + 1, INT32_MAX); }

    const Tiers& tiers_;
    const SequenceTable& sequences_;
    std::vector<Watch> watches_;  // [sequence]
};

}  // namespace deltastore
