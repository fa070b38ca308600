#include "snapshot.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace deltastore {

namespace {

constexpr char kHead[] = "DSNH", kBlock[] = "DSNB", kTail[] = "DSNT";

Writer writer_to(Bytes& bytes) {
    return Writer([&bytes](const void* source, size_t count) {
        const uint8_t* from = static_cast<const uint8_t*>(source);
        bytes.insert(bytes.end(), from, from + count);
    });
}

// Reads a span from its beginning to its end.
class SpanReader {
public:
    explicit SpanReader(ByteSpan span) : left_(span) {}
    Reader reader() {
        return Reader([this](void* target, size_t count) {
            if (count > left_.size) throw std::runtime_error(std::to_string(left_.size) + " bytes are left");
            if (count > 0) std::memcpy(target, left_.data, count);
            left_.data += count;
            left_.size -= count;
        });
    }
    size_t left() const { return left_.size; }
    void finish() const {
        if (left_.size > 0) throw CodedError("STATE_DAMAGED", "The state has " + std::to_string(left_.size) + " bytes too many");
    }

private:
    ByteSpan left_;
};

void write_kind(const char* kind, Writer& writer) {
    writer.bytes(kind, 4);
    writer.number(kSnapshotVersion);
}

uint32_t read_version(const char* kind, Reader& reader) {
    char magic[4];
    reader.bytes(magic, sizeof magic);
    if (std::memcmp(magic, kind, sizeof magic) != 0) throw CodedError("STATE_FOREIGN", "A part of the state is not what it should be");
    const uint32_t version = reader.number<uint32_t>();
    if (version < kSnapshotWithFingerprint || version > kSnapshotVersion)
        throw CodedError("STATE_FOREIGN", "The state has version " + std::to_string(version) + "; this build reads " +
                                              std::to_string(kSnapshotWithFingerprint) + " to " + std::to_string(kSnapshotVersion));
    return version;
}

void require_version(const char* kind, uint32_t version, Reader& reader) {
    if (read_version(kind, reader) != version) throw CodedError("STATE_DAMAGED", "A part of the state has another version than its head");
}

uint64_t tag_of(const void* centre, size_t bytes) {
    Checksum checksum;
    checksum.add(centre, bytes);
    return checksum.value();
}

// Those that these references name, in the order in which they come, and the index of each.
class Tags {
public:
    explicit Tags(const std::vector<uint64_t>& tags) : tags_(tags), index_(tags.size(), kNoCentre) {}
    void add(const PageRef& reference) {
        if (reference.centre == kNoCentre || index_[reference.centre] != kNoCentre) return;
        index_[reference.centre] = uint8_t(order_.size());
        order_.push_back(reference.centre);
    }
    uint8_t index(const PageRef& reference) const { return reference.centre == kNoCentre ? kNoCentre : index_[reference.centre]; }
    const std::vector<uint8_t>& order() const { return order_; }
    void write(Writer& writer) const {
        writer.number(uint8_t(order_.size()));
        for (uint8_t centre : order_) writer.number(tags_[centre]);
    }

private:
    const std::vector<uint64_t>& tags_;
    std::vector<uint8_t> index_, order_;
};

// Whether the rows stay as they are as long as somebody else holds the page, and no row will join them.
bool is_sealed(const Tier& tier, const PageTable& references, size_t index) {
    const auto stored = [](const PageRef& reference) { return format_info(reference.format).packed || reference.gapped(); };
    const PageRef& reference = references[index];
    if (tier.packs() && !stored(reference) && !reference.pinned()) return false;
    const bool followed = index + 1 < references.size() && (reference.pinned() || !tier.packs() || stored(references[index + 1]));
    return reference.gapped() || reference.end_row() == reference.rows || followed;
}

// The rows of a reference as they are written: in parts if they stay F16.
void add_parts(const Tier& tier, const PageRef& reference, PageTable& parts) {
    if (tier.packs() || is_whole(reference)) return parts.push_back(reference);
    for (int row = reference.begin; row < reference.end_row();) {
        const int next = std::min(reference.end_row(), (row / kPartRows + 1) * kPartRows);
        PageRef part = reference;
        part.begin = uint8_t(row);
        part.count = uint8_t(next - row);
        part.position += row - reference.begin;
        parts.push_back(part);
        row = next;
    }
}

PartIdentity identity_of(const PagePool& pool, const PageRef& part, uint64_t tag) {
    const PageVersion version = pool.version(part.page);
    return {version.slab, tag, version.changes, part.position, version.page, part.begin, part.count, part.rows, part.format, part.kind};
}

}  // namespace

Snapshot::Snapshot(std::shared_ptr<Cache> cache, const Origin& origin, int sequence) : cache_(std::move(cache)), origin_(origin.value()) {
    std::lock_guard<std::mutex> guard(cache_->lock());
    SequenceTable& sequences = cache_->table();
    const Tier& tier = cache_->tier(sequence);
    int32_t end = sequences.last_position(sequence) + 1;
    std::vector<PageTable> held, parts(sequences.tables()), rest(sequences.tables());  // [table]; the rest is the tail's
    const bool even = !sequences.extent(sequence).evicted;  // otherwise tables are of many lengths, and a block of an open page would have others' rows
    size_t blocks = 0, open = SIZE_MAX;
    for (int table = 0; table < sequences.tables(); table++) {
        const PageTable& references = sequences.table(sequence, table);
        size_t sealed = 0;
        for (; sealed < references.size() && is_sealed(tier, references, sealed); sealed++) add_parts(tier, references[sealed], parts[table]);
        held.emplace_back(references.begin(), references.begin() + sealed);
        const size_t count = parts[table].size();
        for (size_t i = sealed; i < references.size(); i++) add_parts(tier, references[i], rest[table]);
        const auto stays = [&](const PageRef& part) { return even && !tier.packs() && !is_whole(part) && part.end_row() % kPartRows == 0; };
        const auto first = std::find_if_not(rest[table].begin(), rest[table].end(), stays);
        parts[table].insert(parts[table].end(), rest[table].begin(), first);
        rest[table].erase(rest[table].begin(), first);
        if (!rest[table].empty()) end = std::min(end, rest[table].front().position);
        if (parts[table].size() > count) open = std::min(open, count);
        blocks = std::max(blocks, parts[table].size());
        for (const PageRef& reference : references)
            if (reference.centre != kNoCentre && tags_[reference.centre] == 0)
                tags_[reference.centre] = tag_of(cache_->centre(reference.centre, 0), cache_->centre_floats() * sizeof(float));
    }

    Tags all(tags_), tails(tags_);
    for (int table = 0; table < sequences.tables(); table++) {
        for (const PageRef& reference : sequences.table(sequence, table)) all.add(reference);
        for (const PageRef& reference : rest[table]) tails.add(reference);
    }
    for (uint8_t centre : all.order()) {
        const uint8_t* bytes = reinterpret_cast<const uint8_t*>(cache_->centre(centre, 0));
        centres_.emplace_back(bytes, bytes + cache_->centre_floats() * sizeof(float));
    }

    Writer head = writer_to(head_);
    write_kind(kHead, head);
    origin.write(head);
    write_shapes(*cache_, head);
    head.number(uint32_t(sequences.tokens(sequence)));
    write_extent(sequences.extent(sequence), head);
    head.number(uint32_t(blocks));
    head.number(end);
    head.number(sequences.last_position(sequence) + 1);
    all.write(head);
    cache_->heads().write(head);

    Writer tail = writer_to(tail_);
    write_kind(kTail, tail);
    tails.write(tail);
    for (int table = 0; table < sequences.tables(); table++) {
        tail.number(uint32_t(rest[table].size()));
        for (const PageRef& reference : rest[table]) write_reference(sequences, table, reference, tails.index(reference), tail);
    }
    tail.number(uint8_t(tier.watched()));
    if (const Watch* watch = cache_->watch(sequence)) watch->write(tail);

    identities_.reserve(blocks * parts.size());
    for (size_t i = 0; i < blocks; i++)
        for (const PageTable& table : parts) {
            const PageRef* part = i < table.size() ? &table[i] : nullptr;
            identities_.push_back(part == nullptr ? PartIdentity() : identity_of(sequences.pool(), *part, part->centre == kNoCentre ? 0 : tags_[part->centre]));
        }
    for (size_t i = open; i < blocks; i++) open_.push_back(write_block(parts, i));
    for (PageTable& table : parts) table.resize(std::min(table.size(), open));
    parts_ = std::move(parts);
    blocks_ = int(blocks);
    cache_->hold(held);  // last, as nothing may throw once pages are held
    held_ = std::move(held);
}

Snapshot::~Snapshot() {
    std::lock_guard<std::mutex> guard(cache_->lock());
    cache_->release(held_);
}

Bytes Snapshot::block(int index) const {
    const int open = blocks_ - int(open_.size());
    return index < open ? write_block(parts_, size_t(index)) : open_[index - open];
}

Bytes Snapshot::write_block(const std::vector<PageTable>& parts, size_t index) const {
    const SequenceTable& sequences = cache_->table();
    const auto part = [&](size_t table) { return index < parts[table].size() ? &parts[table][index] : nullptr; };
    Tags tags(tags_);
    size_t size = 64;
    for (size_t table = 0; table < parts.size(); table++)
        if (const PageRef* reference = part(table)) {
            tags.add(*reference);
            size += 16;
            for (const Field& field : fields_of(sequences, int(table), *reference)) size += field.bytes;
        }
    Bytes bytes;
    bytes.reserve(size + 8 * tags.order().size());
    Writer writer = writer_to(bytes);
    write_kind(kBlock, writer);
    writer.number(origin_);
    writer.number<uint8_t>(cache_->options().rotate);
    tags.write(writer);
    for (size_t table = 0; table < parts.size(); table++) {
        const PageRef* reference = part(table);
        writer.number<uint8_t>(reference != nullptr);
        if (reference != nullptr) write_head(*reference, tags.index(*reference), writer);
    }
    for (int i = 0; i < kFields; i++)
        for (size_t table = 0; table < parts.size(); table++)
            if (const PageRef* reference = part(table)) {
                const Field field = fields_of(sequences, int(table), *reference)[i];
                writer.bytes(reference->page + field.offset, field.bytes);
            }
    return bytes;
}

namespace {

// The cache's numbers for the centres of a part.
class Centres {
public:
    // Of the head's tags and the centres that go with them, which stay in the cache only if they are kept.
    Centres(Cache& cache, Reader& head, const std::vector<ByteSpan>& centres) : cache_(cache), before_(cache.centres()) {
        try {
            read_all(head, centres);
        } catch (...) {
            cache_.drop_centres(before_);
            throw;
        }
    }
    ~Centres() {
        if (!kept_) cache_.drop_centres(before_);
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
        const size_t bytes = cache_.centre_floats() * sizeof(float);
        std::vector<bool> taken(256, false);
        const int count = head.number<uint8_t>(0, uint8_t(std::min<size_t>(centres.size(), kNoCentre)), "number of centres");
        for (int i = 0; i < count; i++) {
            tags_.push_back(head.number<uint64_t>());
            SpanReader span(centres[i]);
            Reader reader = span.reader();
            const std::vector<float> centre = read_centre(cache_, reader);
            span.finish();
            if (tag_of(centre.data(), bytes) != tags_.back()) throw CodedError("STATE_DAMAGED", "A centre of the state is not the one that it names");
            const int number = cache_.add_centre(centre, taken);
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
std::vector<PageRef> read_block(Cache& cache, const Made& made, const Centres& centres, ByteSpan bytes, Staging& staged) {
    SpanReader span(bytes);
    Reader reader = span.reader();
    require_version(kBlock, made.version, reader);
    if (reader.number<uint64_t>() != made.origin || reader.number<uint8_t>() != uint8_t(cache.options().rotate))
        throw CodedError("STATE_MODEL_MISMATCH", "A part of the state was written with another model");
    const std::vector<uint8_t> numbers = centres.read(reader);
    SequenceTable& sequences = cache.table();
    std::vector<PageRef> parts(sequences.tables());  // without a page where there is none
    for (int table = 0; table < sequences.tables(); table++)
        if (reader.number<uint8_t>(0, 1, "page flag") != 0)
            parts[table] = begin_reference(staged, table, {numbers.size(), numbers.data()}, reader, Twins::all);
    for (int i = 0; i < kFields; i++)
        for (int table = 0; table < sequences.tables(); table++) {
            if (parts[table].page == nullptr) continue;
            const Field field = fields_of(sequences, table, parts[table])[i];
            reader.bytes(parts[table].page + field.offset, field.bytes);
        }
    span.finish();
    for (int table = 0; table < sequences.tables(); table++)
        if (parts[table].page != nullptr) finish_reference(staged, table);
    return parts;
}

// Of parts that were read, [table], in the pages that they have now.
void add_identities(const Staging& staged, const Centres& centres, const std::vector<PageRef>& parts, std::vector<PartIdentity>& identities) {
    for (size_t table = 0; table < parts.size(); table++) {
        PageRef part = parts[table];
        const PageTable& references = staged.tables[table];
        const auto behind = [](int32_t position, const PageRef& reference) { return position < reference.position; };
        if (part.count > 0) part.page = (std::upper_bound(references.begin(), references.end(), part.position, behind) - 1)->page;
        identities.push_back(part.count > 0 ? identity_of(staged.sequences.pool(), part, centres.tag(part.centre)) : PartIdentity());
    }
}

void read_tail(Cache& cache, const Tier& tier, const Centres& centres, uint32_t version, ByteSpan bytes, int32_t end, Staging& staged, Watch& watch) {
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
    // The tail's sums take no more than it does, and its pages are a few a table; F16 blocks have a page in four.
    const size_t references = (parts.blocks.size() + 8) * sequences.tables() * sizeof(PageRef);
    cache.account(0, parts.centres.size() * cache.centre_floats() * sizeof(float) + parts.tail.size + references + references / 8);
    Centres centres(cache, head, parts.centres);
    RetrievalHeads heads = cache.heads();
    heads.read(head);
    head_span.finish();

    Watch watch(sequences.tables());
    std::vector<std::vector<PageRef>> blocks;
    for (const ByteSpan& block : parts.blocks) blocks.push_back(read_block(cache, made, centres, block, staged));
    const bool whole = parts.tail.data != nullptr;
    if (whole) read_tail(cache, cache.tier_at(tier), centres, made.version, parts.tail, end, staged, watch);
    finish_tables(staged);
    for (const PageTable& table : staged.tables) {
        size_t rows = 0;
        for (const PageRef& reference : table) rows += reference.count;
        const bool fits = rows <= tokens && (table.empty() || table.back().end_position() <= end);
        const bool complete = staged.extent.evicted || !whole || rows == tokens;
        if (!fits || !complete) throw CodedError("STATE_DAMAGED", "The state has other rows than tokens");
    }
    if (!sequences.pool().fits({})) throw CodedError("POOL_LIMIT_REACHED", "What it needs besides pages finds no room in the pool's limit (policy: pool.limit)");
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
