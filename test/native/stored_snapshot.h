// Snapshots as a store has them.
#pragma once

#include "failure.h"
#include "snapshot/snapshot.h"
#include "cache_model.h"
#include "origins.h"

namespace deltastore {

// Two heads, one of other sizes, and one whose values are its keys; of two tiers.
inline CacheOptions make_options(Format format, bool evicts = false) {
    CacheOptions options;
    options.layers = {{4, 2, {64, 64}}, {2, 1, {80, 72}}, {1, 1, {64, 64, /*latent*/ true}}};
    options.format = format;
    options.window_format = window_format_of(format);
    options.window = 24;
    options.sinks = 4;
    options.max_sequences = 4;
    if (evicts) options.eviction = Eviction{0.5, schedule_by_name("uniform"), scorer_by_name("attention"), 64};
    Tier other;
    other.name = "other";
    other.format = format == Format::f16 ? Format::f16 : Format::k3v2;
    other.window_format = format == Format::f16 ? Format::f16 : Format::k8v8;
    other.window = 16;
    options.others = {other};
    return options;
}

// A snapshot's parts as a store would keep them.
struct Stored {
    explicit Stored(CacheModel& model, int sequence, const Origin& origin = kOrigin) {
        const Snapshot snapshot(std::shared_ptr<Cache>(&model.cache, [](Cache*) {}), origin, sequence);
        take(snapshot);
    }
    explicit Stored(const Snapshot& snapshot) { take(snapshot); }
    void take(const Snapshot& snapshot) {
        head = snapshot.head();
        tail = snapshot.tail();
        centres = snapshot.centres();
        identities = snapshot.identities();
        for (int i = 0; i < snapshot.blocks(); i++) blocks.push_back(snapshot.block(i));
    }
    bool operator==(const Stored& other) const {
        return head == other.head && tail == other.tail && centres == other.centres && blocks == other.blocks;
    }
    Bytes head, tail;
    std::vector<Bytes> centres, blocks;
    std::vector<PartIdentity> identities;
};

inline ByteSpan span(const Bytes& bytes) {
    return {bytes.data(), bytes.size()};
}

// The error's code; empty if the sequence holds `tokens` now. `tier`: that it gets, or -1. `message`: the error's.
inline std::string restore(CacheModel& model, int sequence, const Stored& stored, bool with_tail, int tokens = -1, size_t most = 1 << 20, int tier = -1,
                           std::vector<PartIdentity>* identities = nullptr, const Own& own = {}, std::string* message = nullptr) {
    if (tier < 0) tier = model.cache.tiers().index(model.cache.tier(sequence).name);
    SnapshotParts parts;
    parts.head = span(stored.head);
    for (const Bytes& bytes : stored.centres) parts.centres.push_back(span(bytes));
    for (const Bytes& bytes : stored.blocks) parts.blocks.push_back(span(bytes));
    if (with_tail) parts.tail = span(stored.tail);
    try {
        const Restored restored = restore_snapshot(model.cache, own.origin, own.fingerprint, sequence, tier, most, parts);
        CHECK_EQUAL(restored.tokens, model.cache.table().tokens(sequence));
        if (tokens >= 0) CHECK_EQUAL(restored.tokens, tokens);
        if (identities != nullptr) *identities = restored.identities;
    } catch (const CodedError& error) {
        if (message != nullptr) *message = error.what();
        return error.code();
    }
    return "";
}

}  // namespace deltastore
