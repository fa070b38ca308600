#include "frozen_part.h"

#include <algorithm>

#include "kernels/codec.h"
#include "part_rows.h"

namespace deltastore {

namespace {

constexpr char kFrozen[] = "DSNZ";

bool same_head(const PageRef& a, const PageRef& b) {
    return a.position == b.position && a.count == b.count && a.rows == b.rows && a.begin == b.begin && a.format == b.format && a.centre == b.centre &&
           a.kind == b.kind;
}

// The bytes of rows that stay as they are, in the page.
std::vector<Field> fields_as_they_are(const StoredHead& head, int table, const StoredPage& page) {
    PageRef reference = page.reference;
    reference.count = uint8_t(rows_as_they_are(page));
    if (reference.count == 0) return {};
    return whole_fields(page.layout, head.shapes()[table], reference);
}

// What a page has besides the codec's rows.
void write_beside(const StoredHead& head, int table, const StoredPage& page, Writer& writer) {
    const PageRef& reference = page.reference;
    const uint8_t* bytes = page.bytes.data();
    for (const Field& field : fields_as_they_are(head, table, page)) writer.bytes(bytes + field.offset, field.bytes);
    if (archived_rows(page) == 0) return;
    // Others of the page are of rows that are not the reference's, or were erased.
    std::vector<uint8_t> refined;
    for (int i = 0; i < refined_rows(bytes, page.layout); i++) {
        const uint8_t row = bytes[page.layout.refined_rows + i];
        if (row > reference.begin && row <= reference.end_row()) refined.push_back(row);
    }
    writer.number(uint8_t(refined.size()));
    writer.bytes(refined.data(), refined.size());
    if (!reference.gapped()) return;
    writer.bytes(bytes + page.layout.gaps + reference.begin, reference.count);
    writer.bytes(bytes + page.layout.received + reference.begin, reference.count);
}

void read_beside(const StoredHead& head, int table, StoredPage& page, Reader& reader) {
    const PageRef& reference = page.reference;
    uint8_t* bytes = page.bytes.data();
    for (const Field& field : fields_as_they_are(head, table, page)) reader.bytes(bytes + field.offset, field.bytes);
    if (archived_rows(page) == 0) return;
    const int refined = reader.number<uint8_t>(0, uint8_t(page.layout.refined), "number of refined rows");
    for (int i = 0; i < refined; i++)
        bytes[page.layout.refined_rows + i] = reader.number<uint8_t>(uint8_t(reference.begin + 1), uint8_t(reference.end_row()), "refined row");
    if (!reference.gapped()) return;
    reader.bytes(bytes + page.layout.gaps + reference.begin, reference.count);
    reader.bytes(bytes + page.layout.received + reference.begin, reference.count);
}

void write_pages(const StoredHead& head, const StoredPart& part, Writer& writer) {
    const std::vector<StoredPage>* before = nullptr;
    for (int table = 0; table < head.tables(); before = &part.tables[table++]) {
        const auto& pages = part.tables[table];
        writer.number(uint32_t(pages.size()));
        for (size_t i = 0; i < pages.size(); i++) {
            const PageRef& reference = pages[i].reference;
            const bool same = before != nullptr && i < before->size() && same_head(reference, (*before)[i].reference);
            writer.number<uint8_t>(same);
            if (!same) write_head(reference, reference.centre, writer);
            write_beside(head, table, pages[i], writer);
        }
    }
}

void read_pages(const StoredHead& head, StoredPart& part, Reader& reader) {
    part.tables.resize(head.tables());
    const std::vector<StoredPage>* before = nullptr;
    for (int table = 0; table < head.tables(); before = &part.tables[table++]) {
        auto& pages = part.tables[table];
        const uint32_t count = reader.number<uint32_t>(0, part.is_tail ? UINT32_MAX : 1, "number of pages");
        for (uint32_t i = 0; i < count; i++) {
            const bool same = reader.number<uint8_t>(0, before != nullptr && i < before->size(), "sameness of heads") != 0;
            const PageRef* last = pages.empty() ? nullptr : &pages.back().reference;
            const PageRef reference = same ? (*before)[i].reference : read_head({part.tags.size()}, reader, last);
            if (last != nullptr && reference.position < last->end_position()) throw CodedError("STATE_DAMAGED", "The state's rows are not in order of position");
            read_beside(head, table, part.add_page(head, table, reference), reader);
        }
    }
}

void write_head_of(const StoredHead& head, const StoredPart& part, CodecOptions::Kind kind, Writer& writer) {
    writer.bytes(kFrozen, 4);
    writer.number(kFrozenVersion);
    writer.number(uint8_t(kind));
    writer.number<uint8_t>(part.is_tail);
    if (!part.is_tail) writer.number(part.origin);
    writer.number(uint8_t(part.tags.size()));
    for (uint64_t tag : part.tags) writer.number(tag);
    write_pages(head, part, writer);
}

StoredPart read_head_of(const StoredHead& head, CodecOptions::Kind kind, Reader& reader) {
    char magic[4];
    reader.bytes(magic, sizeof magic);
    const uint32_t version = reader.number<uint32_t>();
    if (!std::equal(magic, magic + 4, kFrozen) || version != kFrozenVersion)
        throw CodedError("STATE_FOREIGN", "A frozen part has version " + std::to_string(version) + "; this build reads " + std::to_string(kFrozenVersion));
    if (reader.number<uint8_t>() != uint8_t(kind)) throw CodedError("STATE_DAMAGED", "A frozen part is of another codec than it should be");
    StoredPart part;
    part.is_tail = reader.number<uint8_t>(0, 1, "kind of part") != 0;
    if (!part.is_tail) part.origin = reader.number<uint64_t>();
    part.tags.resize(reader.number<uint8_t>());
    for (uint64_t& tag : part.tags) tag = reader.number<uint64_t>();
    read_pages(head, part, reader);
    return part;
}

// As large as a part's rows are, and all 0.
RowRuns empty_rows(const StoredHead& head, const StoredPart& part) {
    RowRuns runs;
    for (int table = 0; table < head.tables(); table++)
        for (const StoredPage& page : part.tables[table]) {
            const size_t rows = archived_rows(page);
            if (rows == 0) continue;
            const HeadShape& shape = head.shapes()[table];
            runs.push_back({table, archived_positions(page), std::vector<float>(rows * shape.key_dim), std::vector<float>(rows * shape.stored_value_dim())});
        }
    return runs;
}

}  // namespace

std::vector<Bytes> freeze_parts(const StoredHead& head, const RowCodec& codec, CodecOptions::Kind kind, bool fine, const std::vector<ByteSpan>& parts) {
    std::vector<Bytes> all(parts.size());
    std::vector<size_t> coded;
    std::vector<StoredPart> read;
    std::vector<RowRuns> rows;
    std::vector<Writer> writers;
    for (size_t i = 0; i < parts.size(); i++) {
        if (!is_stored_part(parts[i])) continue;
        coded.push_back(i);
        read.push_back(read_part(head, parts[i]));
        rows.push_back(rows_of(head, read.back(), *select_kernels()));
        writers.push_back(writer_to(all[i]));
        write_head_of(head, read.back(), kind, writers.back());
    }
    codec.encode_all(rows, fine, writers);
    for (size_t i = 0; i < coded.size(); i++) writers[i].bytes(read[i].rest.data(), read[i].rest.size());
    for (size_t i = 0; i < parts.size(); i++)
        if (all[i].empty() || all[i].size() >= parts[i].size) all[i].assign(parts[i].data, parts[i].data + parts[i].size);
    return all;
}

std::vector<Bytes> thaw_parts(const StoredHead& head, const RowCodec& codec, CodecOptions::Kind kind, const std::vector<ByteSpan>& parts) {
    std::vector<SpanReader> spans(parts.begin(), parts.end());
    std::vector<Reader> readers;
    std::vector<StoredPart> read;
    std::vector<RowRuns> rows;
    for (SpanReader& span : spans) {
        readers.push_back(span.reader());
        read.push_back(read_head_of(head, kind, readers.back()));
        rows.push_back(empty_rows(head, read.back()));
    }
    codec.decode_all(rows, readers);
    std::vector<Bytes> all;
    for (size_t i = 0; i < parts.size(); i++) {
        put_rows(head, rows[i], *select_kernels(), read[i]);
        read[i].rest.resize(spans[i].left());
        readers[i].bytes(read[i].rest.data(), read[i].rest.size());
        if (!read[i].is_tail && !read[i].rest.empty()) throw CodedError("STATE_DAMAGED", "A frozen part has bytes too many");
        all.push_back(write_part(head, read[i]));
    }
    return all;
}

}  // namespace deltastore
