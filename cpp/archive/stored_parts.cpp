#include "stored_parts.h"

#include <algorithm>
#include <cmath>

namespace deltastore {

static bool begins_as(const char* kind, ByteSpan bytes) {
    return bytes.size >= 4 && std::memcmp(bytes.data, kind, 4) == 0;
}

StoredHead::StoredHead(ByteSpan head, const std::vector<ByteSpan>& centres) {
    SpanReader span(head);
    Reader reader = span.reader();
    const uint32_t version = read_version(kHead, reader);
    if (version != kSnapshotVersion)
        throw CodedError("STATE_FOREIGN", "The state has version " + std::to_string(version) + "; codecs read " + std::to_string(kSnapshotVersion));
    Origin::read(reader);
    rotated_ = reader.number<uint8_t>(0, 1, "rotation") != 0;
    const uint32_t layers = reader.number<uint32_t>(0, 1 << 16, "number of layers");
    size_t floats = 0;
    for (uint32_t layer = 0; layer < layers; layer++) {
        const uint32_t heads = reader.number<uint32_t>(0, 1 << 12, "number of KV heads");
        HeadShape shape;
        shape.key_dim = int(reader.number<uint32_t>(0, kMostDim, "key size"));
        shape.value_dim = int(reader.number<uint32_t>(0, kMostDim, "value size"));
        if (heads > 0 && (shape.key_dim == 0 || shape.key_dim % kDimStep != 0 || shape.value_dim % kDimStep != 0))
            throw CodedError("STATE_DAMAGED", "The state's heads have sizes that no head has");
        shape.latent = shape.value_dim == 0;
        if (shape.latent) shape.value_dim = kGroup;  // of no matter: none are stored
        if (shapes_.size() + heads > kMostTables) throw CodedError("STATE_DAMAGED", "The state has more heads than any model");
        for (uint32_t h = 0; h < heads; h++, floats += shape.key_dim) {
            shapes_.push_back(shape);
            layer_of_.push_back(int(layer));
            offsets_.push_back(floats);
        }
    }
    made_with_.assign(head.data + kKindBytes, head.data + head.size - span.left());
    for (const ByteSpan& bytes : centres) {
        if (bytes.size != floats * sizeof(float)) throw CodedError("STATE_DAMAGED", "A centre of the state has another size");
        std::vector<float> vector(floats);
        std::memcpy(vector.data(), bytes.data, bytes.size);
        for (float value : vector)
            if (!(std::abs(value) <= 65504.0f)) throw CodedError("STATE_DAMAGED", "A centre of the state is not finite");
        centres_.emplace(tag_of(vector.data(), bytes.size), std::move(vector));
    }
}

const float* StoredHead::centre(uint64_t tag, int table) const {
    if (tag == 0) return nullptr;
    const auto found = centres_.find(tag);
    if (found == centres_.end()) throw CodedError("STATE_DAMAGED", "A part of the state names a centre that the state does not have");
    return found->second.data() + offsets_[table];
}

bool is_stored_part(ByteSpan bytes) {
    return begins_as(kBlock, bytes) || begins_as(kTail, bytes);
}

StoredPage& StoredPart::add_page(const StoredHead& head, int table, const PageRef& reference) {
    const PageLayout layout = page_layout(reference.format, head.shapes()[table], reference.rows, reference.gapped());
    page_bytes += layout.bytes;
    if (page_bytes > kMostPartBytes) throw CodedError("STATE_DAMAGED", "A part of the state has more than " + std::to_string(kMostPartBytes) + " bytes of pages");
    tables[table].push_back({reference, layout, Bytes(layout.bytes)});
    return tables[table].back();
}

StoredPart read_part(const StoredHead& head, ByteSpan bytes) {
    StoredPart part;
    part.is_tail = begins_as(kTail, bytes);
    SpanReader span(bytes);
    Reader reader = span.reader();
    require_version(part.is_tail ? kTail : kBlock, kSnapshotVersion, reader);
    if (!part.is_tail) {
        part.origin = reader.number<uint64_t>();
        if (reader.number<uint8_t>() != uint8_t(head.rotated())) throw CodedError("STATE_DAMAGED", "A part of the state has another rotation than its head");
    }
    part.tags.resize(reader.number<uint8_t>());
    for (uint64_t& tag : part.tags) tag = reader.number<uint64_t>();
    const CentreNumbers centres{part.tags.size()};
    part.tables.resize(head.tables());
    for (int table = 0; table < head.tables(); table++) {
        auto& pages = part.tables[table];
        const uint32_t count = part.is_tail ? reader.number<uint32_t>() : reader.number<uint8_t>(0, 1, "page flag");
        for (uint32_t i = 0; i < count; i++) {
            StoredPage& page = part.add_page(head, table, read_head(centres, reader, pages.empty() ? nullptr : &pages.back().reference));
            if (!part.is_tail) continue;
            for (const Field& field : whole_fields(page.layout, head.shapes()[table], page.reference)) reader.bytes(page.bytes.data() + field.offset, field.bytes);
        }
    }
    for (int i = 0; !part.is_tail && i < kFields; i++)
        for (int table = 0; table < head.tables(); table++)
            for (StoredPage& page : part.tables[table]) {
                const Field field = fields_of(page.layout, head.shapes()[table], page.reference)[i];
                reader.bytes(page.bytes.data() + field.offset, field.bytes);
            }
    if (part.is_tail) {
        part.rest.resize(span.left());
        reader.bytes(part.rest.data(), part.rest.size());
    }
    span.finish();
    return part;
}

Bytes write_part(const StoredHead& head, const StoredPart& part) {
    Bytes bytes;
    Writer writer = writer_to(bytes);
    write_kind(part.is_tail ? kTail : kBlock, writer);
    if (!part.is_tail) {
        writer.number(part.origin);
        writer.number<uint8_t>(head.rotated());
    }
    writer.number(uint8_t(part.tags.size()));
    for (uint64_t tag : part.tags) writer.number(tag);
    for (int table = 0; table < head.tables(); table++) {
        const auto& pages = part.tables[table];
        if (part.is_tail) writer.number(uint32_t(pages.size()));
        else writer.number(uint8_t(pages.size()));
        for (const StoredPage& page : pages) {
            write_head(page.reference, page.reference.centre, writer);
            if (!part.is_tail) continue;
            for (const Field& field : whole_fields(page.layout, head.shapes()[table], page.reference)) writer.bytes(page.bytes.data() + field.offset, field.bytes);
        }
    }
    for (int i = 0; !part.is_tail && i < kFields; i++)
        for (int table = 0; table < head.tables(); table++)
            for (const StoredPage& page : part.tables[table]) {
                const Field field = fields_of(page.layout, head.shapes()[table], page.reference)[i];
                writer.bytes(page.bytes.data() + field.offset, field.bytes);
            }
    writer.bytes(part.rest.data(), part.rest.size());
    return bytes;
}

}  // namespace deltastore
