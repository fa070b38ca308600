#include "rows_io.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace deltastore {

bool is_whole(const PageRef& reference) {
    return format_info(reference.format).coded || reference.gapped();
}

CodedError no_room(const PagePool& pool) {
    if (pool.refusal() == Failure::out_of_memory) return CodedError("OUT_OF_MEMORY", "The system gave no memory for pages");
    return CodedError("POOL_LIMIT_REACHED", "It needs at least " + std::to_string(pool.missing_bytes()) + " bytes more than are left of the pool's limit of " +
                                                std::to_string(pool.limit_bytes()) + " bytes (policy: pool.limit), of which pages take " +
                                                std::to_string(pool.resident_bytes()) + ". Dispose of sequences, or raise the limit");
}

void write_head(const PageRef& reference, uint8_t centre, Writer& writer) {
    writer.number<int32_t>(reference.position);
    writer.number<uint16_t>(reference.count);
    writer.number<uint16_t>(reference.rows);
    writer.number<uint16_t>(reference.begin);
    writer.number<uint8_t>(uint8_t(reference.format));
    writer.number<uint8_t>(centre);
    writer.number(uint8_t(reference.kind));
}

Fields fields_of(const PageLayout& layout, const HeadShape& shape, const PageRef& reference) {
    Fields fields{};
    if (!is_whole(reference)) {
        const size_t key_row = shape.key_dim * 2, value_row = shape.stored_value_dim() * 2;
        fields[0] = {layout.keys + reference.begin * key_row, reference.count * key_row};
        fields[1] = {layout.values + reference.begin * value_row, reference.count * value_row};
        return fields;
    }
    // Those that a format does not have lie at 0.
    std::array<size_t, kFields> begins{layout.keys, layout.key_scales, layout.values, layout.value_scales, layout.refined_values,
                                       layout.refined_scales, layout.refined_rows, layout.gaps};
    size_t end = layout.bytes;
    for (int i = kFields; i-- > 0;) {
        if (i > 0 && begins[i] == 0) continue;
        fields[i] = {begins[i], end - begins[i]};
        end = begins[i];
    }
    return fields;
}

Fields fields_of(const SequenceTable& sequences, int table, const PageRef& reference) {
    return fields_of(sequences.layout(table, reference), sequences.shape(table), reference);
}

std::vector<Field> whole_fields(const PageLayout& layout, const HeadShape& shape, const PageRef& reference) {
    if (is_whole(reference)) return {{0, layout.bytes}};
    const Fields fields = fields_of(layout, shape, reference);
    return {fields[0], fields[1]};
}

static std::vector<Field> whole_fields(const SequenceTable& sequences, int table, const PageRef& reference) {
    return whole_fields(sequences.layout(table, reference), sequences.shape(table), reference);
}

void write_reference(const SequenceTable& sequences, int table, const PageRef& reference, uint8_t centre, Writer& writer) {
    write_head(reference, centre, writer);
    for (const Field& field : whole_fields(sequences, table, reference))
        sequences.place().read(reference.page, field.offset, field.bytes, writer.sink());
}

PageRef read_head(CentreNumbers centres, Reader& reader, const PageRef* before) {
    PageRef reference;
    reference.position = reader.number<int32_t>(0, kMostPosition, "position");
    if (before != nullptr && reference.position < before->end_position())
        throw CodedError("STATE_DAMAGED", "The state's rows are not in order of position");
    reference.count = reader.number<uint16_t>(1, kPageRows, "row count");
    reference.rows = reader.number<uint16_t>(1, kPageRows, "page size");
    reference.begin = reader.number<uint16_t>(0, kPageRows - 1, "first row");
    reference.format = Format(reader.number<uint8_t>(0, kFormatCount - 1, "page format"));
    const uint8_t centre = reader.number<uint8_t>();
    reference.kind = PageKind(reader.number<uint8_t>(0, 2, "page kind"));
    const FormatInfo& info = format_info(reference.format);
    const bool window = !info.packed && !reference.gapped() && reference.rows == kWindowPageRows;
    const bool has_size = !is_whole(reference) || reference.rows == kPageRows || window;
    if (reference.end_row() > reference.rows || !has_size || (info.packed ? centre >= centres.count : centre != kNoCentre))
        throw CodedError("STATE_DAMAGED", "A page of the state has rows outside itself");
    reference.centre = info.packed && centres.numbers != nullptr ? centres.numbers[centre] : centre;
    return reference;
}

// A page of any sequence that begins as the reference's does, and is full; nullptr if there is none.
static const PageRef* find_alike(const SequenceTable& sequences, int table, const PageRef& reference) {
    for (int sequence = 0; sequence < sequences.sequences(); sequence++) {
        const PageTable& others = sequences.table(sequence, table);
        const auto before = [](const PageRef& other, int32_t position) { return other.position < position; };
        const auto found = std::lower_bound(others.begin(), others.end(), reference.position, before);
        if (found == others.end() || found->position != reference.position || found->shift != 0) continue;
        const bool complete = is_whole(reference) ? found->count == reference.count : found->count == found->rows;  // what else such a page has is not known
        if (complete && found->rows == reference.rows && found->begin == reference.begin && found->format == reference.format &&
            found->centre == reference.centre && found->kind == reference.kind)
            return &*found;
    }
    return nullptr;
}

// Whether the rows are those of the same page behind another reference's.
static bool joins(const PageRef& last, const PageRef& next) {
    return !is_whole(last) && !is_whole(next) && next.format == last.format && next.kind == last.kind && next.rows == last.rows &&
           next.begin == last.end_row() && next.begin % kPartRows == 0 && next.position == last.end_position();
}

static Page allocate(SequenceTable& sequences, const PageLayout& layout) {
    const Page page = sequences.allocate(layout);
    if (page == kNoPage) throw no_room(sequences.pool());
    return page;
}

// Gives the rows in scratch memory a page: that of a sequence that has the same bytes, or a new one.
static void place_scratch(SequenceTable& sequences, int table, Staging::Arriving& arriving) {
    PageRef& reference = arriving.reference;
    const PageLayout& layout = sequences.layout(table, reference);
    const uint8_t* bytes = arriving.scratch.data();
    const PageRef* twin = find_alike(sequences, table, reference);
    bool same = twin != nullptr && twin->count == reference.count;
    if (same)
        sequences.place().read(twin->page, 0, layout.bytes, [&](const void* piece, size_t count) {
            same = same && std::memcmp(piece, bytes, count) == 0;
            bytes += count;
        });
    if (same) {
        reference.page = twin->page;
        sequences.retain(reference);
    } else {
        reference.page = allocate(sequences, layout);
        bytes = arriving.scratch.data();
        sequences.place().write(reference.page, 0, layout.bytes, [&](void* piece, size_t count) {
            std::memcpy(piece, bytes, count);
            bytes += count;
        });
    }
    arriving.in_scratch = false;
}

static void require_refined_rows(const Staging& staged, int table) {
    const Staging::Arriving& arriving = staged.arriving[table];
    const PageLayout& layout = staged.sequences.layout(table, arriving.reference);
    uint8_t rows[kMostRefined];
    if (arriving.in_scratch) std::memcpy(rows, arriving.scratch.data() + layout.refined_rows, layout.refined);
    else if (layout.refined > 0) staged.sequences.place().read(arriving.reference.page, layout.refined_rows, layout.refined, rows);
    for (int i = 0; i < layout.refined; i++)
        if (rows[i] > kPageRows) throw CodedError("STATE_DAMAGED", "A page of the state refines a row outside itself");
}

// No more rows come to the page.
static void settle(Staging& staged, int table) {
    Staging::Arriving& arriving = staged.arriving[table];
    PageRef& reference = arriving.reference;
    if (reference.count == 0) return;
    SequenceTable& sequences = staged.sequences;
    require_refined_rows(staged, table);
    make_room(staged.tables[table]);
    if (arriving.in_scratch) place_scratch(sequences, table, arriving);
    if (reference.gapped()) {
        int32_t positions[kPageRows];
        sequences.row_positions(table, reference, positions);
        reference.missing = uint16_t(positions[reference.count - 1] - reference.position + 1 - reference.count);
    }
    staged.tables[table].push_back(reference);
    reference = PageRef();
}

Staging::~Staging() {
    for (const Arriving& each : arriving)
        if (each.reference.page != kNoPage) sequences.release(each.reference);
    sequences.discard(tables);
}

PageRef begin_reference(Staging& staged, int table, CentreNumbers centres, Reader& reader, Twins twins) {
    Staging::Arriving& arriving = staged.arriving[table];
    const PageTable& references = staged.tables[table];
    const bool goes_on = arriving.reference.count > 0;
    PageRef part = read_head(centres, reader, goes_on ? &arriving.reference : references.empty() ? nullptr : &references.back());
    if (goes_on && joins(arriving.reference, part)) {
        part.page = arriving.reference.page;
        arriving.reference.count += part.count;
        return part;
    }
    settle(staged, table);
    staged.sequences.lay_out(part.format);  // with gaps, too: rows that are evicted keep their format
    staged.sequences.lay_out(part.format, part.rows, part.gapped());
    const PageLayout& layout = staged.sequences.layout(table, part);
    arriving.in_scratch = twins == Twins::all && find_alike(staged.sequences, table, part) != nullptr;
    if (arriving.in_scratch) arriving.scratch.resize(layout.bytes);
    else part.page = allocate(staged.sequences, layout);
    arriving.reference = part;
    return part;
}

void read_field(Staging& staged, int table, const Field& field, Reader& reader) {
    Staging::Arriving& arriving = staged.arriving[table];
    if (arriving.in_scratch) return reader.bytes(arriving.scratch.data() + field.offset, field.bytes);
    staged.sequences.place().write(arriving.reference.page, field.offset, field.bytes,
                                   [&](void* target, size_t count) { reader.bytes(target, count); });
}

void finish_reference(Staging& staged, int table) {
    const PageRef& reference = staged.arriving[table].reference;
    if (is_whole(reference) || reference.end_row() == reference.rows) settle(staged, table);
}

void finish_tables(Staging& staged) {
    for (size_t table = 0; table < staged.arriving.size(); table++) settle(staged, int(table));
}

int read_reference(Staging& staged, int table, CentreNumbers centres, Reader& reader) {
    const PageRef reference = begin_reference(staged, table, centres, reader, Twins::none);
    for (const Field& field : whole_fields(staged.sequences, table, reference)) read_field(staged, table, field, reader);
    finish_reference(staged, table);
    return reference.count;
}

void write_extent(const Extent& extent, Writer& writer) {
    writer.number<uint8_t>(extent.evicted);
    writer.number(extent.begin);
    writer.number(extent.end);
    writer.number(extent.until);
}

Extent read_extent(uint32_t tokens, Reader& reader) {
    Extent extent;
    extent.evicted = reader.number<uint8_t>(0, 1, "evicted flag") != 0;
    extent.begin = reader.number<int32_t>();
    extent.end = reader.number<int32_t>();
    extent.until = reader.number<int32_t>();
    const bool ordered = extent.begin >= 0 && extent.begin < extent.end && extent.end <= kMostPosition && extent.until >= 0 && extent.until <= extent.end;
    if (extent.evicted ? !ordered || uint32_t(extent.end - extent.begin) != tokens : extent.begin != 0 || extent.end != 0 || extent.until != 0)
        throw CodedError("STATE_DAMAGED", "The state's sequence has other positions than tokens");
    return extent;
}

std::vector<float> read_centre(const Cache& cache, Reader& reader) {
    std::vector<float> vector(cache.centres().floats());
    reader.bytes(vector.data(), vector.size() * sizeof(float));
    for (float value : vector)
        if (!(std::abs(value) <= 65504.0f)) throw CodedError("STATE_DAMAGED", "A centre of the state is not finite");
    return vector;
}

void write_shapes(const Cache& cache, Writer& writer) {
    writer.number<uint8_t>(cache.options().rotate);
    writer.number(uint32_t(cache.options().layers.size()));
    for (const LayerShape& layer : cache.options().layers) {
        writer.number(uint32_t(layer.kv_heads));
        writer.number(uint32_t(layer.head.key_dim));
        writer.number(uint32_t(layer.head.stored_value_dim()));
    }
}

void read_shapes(const Cache& cache, Reader& reader) {
    const bool rotated = reader.number<uint8_t>(0, 1, "rotation") != 0;
    if (rotated != cache.options().rotate)
        throw CodedError("STATE_FORMAT_MISMATCH", rotated ? "The state is of a context that packs rows; this one keeps all rows F16"
                                                          : "The state is of a context that keeps all rows F16; this one packs them");
    const auto& layers = cache.options().layers;
    const auto mismatch = [] { return CodedError("STATE_MODEL_MISMATCH", "The state's layers have other shapes than this model's"); };
    if (reader.number<uint32_t>() != layers.size()) throw mismatch();
    for (const LayerShape& layer : layers) {
        const uint32_t kv_heads = reader.number<uint32_t>(), key_dim = reader.number<uint32_t>(), value_dim = reader.number<uint32_t>();
        if (int(kv_heads) != layer.kv_heads || int(key_dim) != layer.head.key_dim || int(value_dim) != layer.head.stored_value_dim())
            throw mismatch();
    }
}

}  // namespace deltastore
