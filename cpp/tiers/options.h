// What a cache is made with: the model's layers, and the tiers that its sequences may have.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "format/format.h"
#include "pages/layers.h"
#include "schedule.h"
#include "scorer.h"
#include "sliding_window.h"

namespace deltastore {

// [key_dim][key_dim]: row d is what becomes of unit vector d. Null where positions turn nothing.
using Turn = std::shared_ptr<const std::vector<float>>;

// Which rows go once there are enough tokens.
struct Eviction {
    double keep = 1;  // a share; the schedule says of what
    const Schedule* schedule = nullptr;
    const Scorer* scorer = nullptr;
    int slack = 512;  // tokens that come between one eviction and the next
};

// How the rows of a sequence are kept.
struct Tier {
    std::string name;
    Format format = Format::k4v4;
    Format window_format = Format::f16;  // of rows that will be packed, until they are: f16 or k8v8
    int window = 64;                     // newest rows that are not packed
    int sinks = 4;                       // first rows, which stay F16
    std::optional<Eviction> eviction;

    bool packs() const { return format_info(format).packed; }
    bool evicts_by_watch() const { return eviction && eviction->scorer->watch != WatchedQueries::none; }
    WatchedQueries watched() const {
        return evicts_by_watch() ? eviction->scorer->watch : format_info(format).refined > 0 ? WatchedQueries::some : WatchedQueries::none;
    }
};

// Sequences have the options' own tier at first.
struct CacheOptions : Tier {
    std::vector<Tier> others;  // that sequences may be given
    std::vector<LayerShape> layers;
    SlidingWindow sliding_window;  // of all these layers
    // Whether the cache rotates queries, keys and values (and the output back) by Hadamard matrices, which spreads outliers
    // over a group. Coded formats want it (unless rows come rotated); exact rows gain nothing.
    bool rotate = false;
    // [layer], for RetrievalHeads, which are ready from the start if the options' own tier evicts; may be empty if positions turn nothing.
    std::vector<Turn> far_turns;
    size_t pool_limit = 0;  // bytes; 0 is none
    int max_sequences = 1;
    int kept_prefixes = 0;  // more sequences, behind those, that hold prefixes for others to take over
};

}  // namespace deltastore
