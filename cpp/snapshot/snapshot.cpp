#include <algorithm>

#include "parts.h"

namespace deltastore {

namespace {

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
    const auto stored = [](const PageRef& reference) { return reference.packed() || reference.gapped(); };
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
                tags_[reference.centre] = tag_of(cache_->centres().at(reference.centre, 0), cache_->centres().floats() * sizeof(float));
    }

    Tags all(tags_), tails(tags_);
    for (int table = 0; table < sequences.tables(); table++) {
        for (const PageRef& reference : sequences.table(sequence, table)) all.add(reference);
        for (const PageRef& reference : rest[table]) tails.add(reference);
    }
    for (uint8_t centre : all.order()) {
        const uint8_t* bytes = reinterpret_cast<const uint8_t*>(cache_->centres().at(centre, 0));
        centres_.emplace_back(bytes, bytes + cache_->centres().floats() * sizeof(float));
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
    cache_->sharing().hold(held);  // last, as nothing may throw once pages are held
    held_ = std::move(held);
}

Snapshot::~Snapshot() {
    std::lock_guard<std::mutex> guard(cache_->lock());
    cache_->sharing().release(held_);
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
                sequences.place().read(reference->page, field.offset, field.bytes, writer.sink());
            }
    return bytes;
}

}  // namespace deltastore
