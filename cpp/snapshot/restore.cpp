#include <algorithm>

#include "parts.h"

namespace deltastore {

namespace {

// The cache's numbers for the centres of a part.
class ArrivingCentres {
public:
    // Of the head's tags and the centres that go with them, which stay in the cache only if they are kept.
    ArrivingCentres(Cache& cache, Reader& head, const std::vector<ByteSpan>& centres) : cache_(cache), before_(cache.centres().count()) {
        try {
            read_all(head, centres);
        } catch (...) {
            cache_.centres().drop(before_);
            throw;
        }
    }
    ~ArrivingCentres() {
        if (!kept_) cache_.centres().drop(before_);
    }
    void keep() { kept_ = true; }

    // Of a reference's centre, as it is called in the cache.
    uint64_t tag(uint8_t number) const {
        return number == kNoCentre ? 0 : tags_[std::find(numbers_.begin(), numbers_.end(), number) - numbers_.begin()];
    }

    std::vector<uint8_t> read(Reader& reader) const {
        std::vector<uint8_t> numbers(reader.number<uint8_t>());
        for (uint8_t& number : numbers) {
            const size_t at = std::find(tags_.begin(), tags_.end(), reader.number<uint64_t>()) - tags_.begin();
            if (at == tags_.size()) throw CodedError("STATE_DAMAGED", "A part of the state names a centre that the state does not have");
            number = numbers_[at];
        }
        return numbers;
    }

private:
    void read_all(Reader& head, const std::vector<ByteSpan>& centres) {
        const size_t bytes = cache_.centres().floats() * sizeof(float);
        std::vector<bool> taken(256, false);
        const int count = head.number<uint8_t>(0, uint8_t(std::min<size_t>(centres.size(), kNoCentre)), "number of centres");
        for (int i = 0; i < count; i++) {
            tags_.push_back(head.number<uint64_t>());
            SpanReader span(centres[i]);
            Reader reader = span.reader();
            const std::vector<float> centre = read_centre(cache_, reader);
            span.finish();
            if (tag_of(centre.data(), bytes) != tags_.back()) throw CodedError("STATE_DAMAGED", "A centre of the state is not the one that it names");
            const int number = cache_.table().add_centre(cache_.centres(), centre, taken);
            if (number < 0) throw CodedError("OUT_OF_MEMORY", "The pages of this context have too many different centres");
            taken[number] = true;
            numbers_.push_back(uint8_t(number));
        }
    }

    Cache& cache_;
    int before_;
    bool kept_ = false;
    std::vector<uint64_t> tags_;
    std::vector<uint8_t> numbers_;
};

// What all parts of a snapshot have to say of themselves.
struct Made {
    uint32_t version;
    uint64_t origin;  // its value, or the fingerprint
};

// Throws CodedError STATE_MODEL_MISMATCH if the head's are not these.
Made read_made(const Origin& origin, uint64_t fingerprint, Reader& head) {
    const uint32_t version = read_version(kHead, head);
    if (version == kSnapshotVersion) {
        origin.require(Origin::read(head));
        return {version, origin.value()};
    }
    const uint64_t of_rows = origin.positions.fingerprint(fingerprint);
    require_fingerprint(of_rows, head);
    return {version, of_rows};
}

// Its parts, [table]; what pages they have in the end is yet to be seen.
std::vector<PageRef> read_block(Cache& cache, const Made& made, const ArrivingCentres& centres, ByteSpan bytes, Staging& staged) {
    SpanReader span(bytes);
    Reader reader = span.reader();
    require_version(kBlock, made.version, reader);
    if (reader.number<uint64_t>() != made.origin || reader.number<uint8_t>() != uint8_t(cache.options().rotate))
        throw CodedError("STATE_MODEL_MISMATCH", "A part of the state was written with another model");
    const std::vector<uint8_t> numbers = centres.read(reader);
    SequenceTable& sequences = cache.table();
    std::vector<PageRef> parts(sequences.tables());  // without rows where there is none
    for (int table = 0; table < sequences.tables(); table++)
        if (reader.number<uint8_t>(0, 1, "page flag") != 0)
            parts[table] = begin_reference(staged, table, {numbers.size(), numbers.data()}, reader, Twins::all);
    for (int i = 0; i < kFields; i++)
        for (int table = 0; table < sequences.tables(); table++)
            if (parts[table].count > 0) read_field(staged, table, fields_of(sequences, table, parts[table])[i], reader);
    span.finish();
    for (int table = 0; table < sequences.tables(); table++)
        if (parts[table].count > 0) finish_reference(staged, table);
    return parts;
}

// Of parts that were read, [table], in the pages that they have now.
void add_identities(const Staging& staged, const ArrivingCentres& centres, const std::vector<PageRef>& parts, std::vector<PartIdentity>& identities) {
    for (size_t table = 0; table < parts.size(); table++) {
        PageRef part = parts[table];
        const PageTable& references = staged.tables[table];
        const auto behind = [](int32_t position, const PageRef& reference) { return position < reference.position; };
        if (part.count > 0) part.page = (std::upper_bound(references.begin(), references.end(), part.position, behind) - 1)->page;
        identities.push_back(part.count > 0 ? identity_of(staged.sequences.pool(), part, centres.tag(part.centre)) : PartIdentity());
    }
}

void read_tail(Cache& cache, const Tier& tier, const ArrivingCentres& centres, uint32_t version, ByteSpan bytes, int32_t end, Staging& staged, Watch& watch) {
    SpanReader span(bytes);
    Reader reader = span.reader();
    require_version(kTail, version, reader);
    const std::vector<uint8_t> numbers = centres.read(reader);
    for (int table = 0; table < cache.table().tables(); table++) {
        const uint32_t pages = reader.number<uint32_t>(0, uint32_t(end), "number of pages");
        for (uint32_t r = 0; r < pages; r++)
            read_reference(staged, table, {numbers.size(), numbers.data()}, reader);
    }
    const uint8_t watched = reader.number<uint8_t>(0, uint8_t(WatchedQueries::last), "kind of watched queries");
    if (watched != uint8_t(WatchedQueries::none)) watch.read(reader, end, span.left());
    span.finish();
    if (watched != uint8_t(tier.watched())) watch = Watch(cache.table().tables());  // sums of other queries say nothing
}

}  // namespace

Restored restore_snapshot(Cache& cache, const Origin& origin, uint64_t fingerprint, int sequence, int tier, size_t most_tokens, const SnapshotParts& parts) {
    std::lock_guard<std::mutex> guard(cache.lock());
    SequenceTable& sequences = cache.table();
    SpanReader head_span(parts.head);
    Reader head = head_span.reader();
    const Made made = read_made(origin, fingerprint, head);
    read_shapes(cache, head);
    const uint32_t tokens = head.number<uint32_t>();
    if (tokens > most_tokens)
        throw CodedError("STATE_TOO_LARGE", "The state holds " + std::to_string(tokens) + " tokens; this sequence has room for " + std::to_string(most_tokens));
    Staging staged(sequences, sequences.tables());
    staged.extent = read_extent(tokens, head);
    if (head.number<uint32_t>() != parts.blocks.size()) throw CodedError("STATE_DAMAGED", "The state has another number of blocks than it says");
    const int32_t sealed_end = head.number<int32_t>(0, kMostPosition, "end of blocks"), end = head.number<int32_t>(sealed_end, kMostPosition, "end");
    // The tail's pages are a few a table; F16 blocks have a page in four. Its sums are among its bytes, and no more than one a row.
    const size_t references = (parts.blocks.size() + 8) * sequences.tables() * sizeof(PageRef);
    const size_t sums = std::min(parts.tail.size, Watch::least_bytes(sequences.tables()) + size_t(end) * sequences.tables() * sizeof(uint32_t));
    cache.accounting().charge(0, parts.centres.size() * cache.centres().floats() * sizeof(float) + sums + references + references / 8);
    ArrivingCentres centres(cache, head, parts.centres);
    RetrievalHeads heads = cache.heads();
    heads.read(head);
    head_span.finish();

    Watch watch(sequences.tables());
    std::vector<std::vector<PageRef>> blocks;
    for (const ByteSpan& block : parts.blocks) blocks.push_back(read_block(cache, made, centres, block, staged));
    const bool whole = parts.tail.data != nullptr;
    if (whole) read_tail(cache, cache.tiers().at(tier), centres, made.version, parts.tail, end, staged, watch);
    finish_tables(staged);
    for (const PageTable& table : staged.tables) {
        size_t rows = 0;
        for (const PageRef& reference : table) rows += reference.count;
        const bool fits = rows <= tokens && (table.empty() || table.back().end_position() <= end);
        const bool complete = staged.extent.evicted || !whole || rows == tokens;
        if (!fits || !complete) throw CodedError("STATE_DAMAGED", "The state has other rows than tokens");
    }
    if (!sequences.pool().fits({}))
        throw CodedError("POOL_LIMIT_REACHED", "What it needs besides pages is " + std::to_string(sequences.pool().missing_bytes()) +
                                                   " bytes more than are left of the pool's limit of " + std::to_string(sequences.pool().limit_bytes()) +
                                                   " bytes (policy: pool.limit). Dispose of sequences, or raise the limit");
    Restored restored;
    restored.identities.reserve(blocks.size() * sequences.tables());
    for (const std::vector<PageRef>& block : blocks) add_identities(staged, centres, block, restored.identities);
    centres.keep();
    cache.assign_tier(sequence, tier);
    cache.install(sequence, staged.tables, staged.extent, std::move(watch));
    cache.adopt(std::move(heads));
    if (!whole) sequences.erase(sequence, sealed_end, INT32_MAX);
    restored.tokens = sequences.tokens(sequence);
    return restored;
}

}  // namespace deltastore
