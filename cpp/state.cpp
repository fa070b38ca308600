#include "state.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>

#include "failure.h"

namespace deltastore {

static constexpr char kMagic[4] = {'D', 'S', 'T', 'S'};

namespace {

// 64-bit FNV-1a over 8-byte words (a last short one padded with zeros), with a final mix: every flipped bit changes it.
class Checksum {
public:
    void add(const void* bytes, size_t count) {
        const uint8_t* at = static_cast<const uint8_t*>(bytes);
        for (; count >= 8; at += 8, count -= 8) {
            uint64_t word;
            std::memcpy(&word, at, 8);
            step(word);
        }
        uint64_t rest = 0;
        std::memcpy(&rest, at, count);
        if (count > 0) step(rest);
    }
    uint64_t value() const { return hash_ ^ (hash_ >> 32); }

private:
    void step(uint64_t word) {
        hash_ = (hash_ ^ word) * 0x100000001b3ull;
        hash_ ^= hash_ >> 29;
    }
    uint64_t hash_ = 0xcbf29ce484222325ull;
};

class Writer {
public:
    explicit Writer(const WriteBytes& write) : write_(write) {}
    void bytes(const void* source, size_t count) {
        checksum_.add(source, count);
        write_(source, count);
    }
    template <typename T>
    void number(T value) {
        bytes(&value, sizeof value);
    }
    void finish() {
        const uint64_t value = checksum_.value();
        write_(&value, sizeof value);
    }

private:
    const WriteBytes& write_;
    Checksum checksum_;
};

class Reader {
public:
    explicit Reader(const ReadBytes& read) : read_(read) {}
    void bytes(void* target, size_t count) {
        try {
            read_(target, count);
        } catch (const std::exception& error) {
            throw CodedError("STATE_DAMAGED", std::string("The state is cut short: ") + error.what());
        }
        checksum_.add(target, count);
    }
    template <typename T>
    T number() {
        T value;
        bytes(&value, sizeof value);
        return value;
    }
    // A number that has to lie in [low, high].
    template <typename T>
    T number(T low, T high, const char* name) {
        const T value = number<T>();
        if (value < low || value > high)
            throw CodedError("STATE_DAMAGED", std::string("The state's ") + name + " is " + std::to_string(value) + ", outside " +
                                                  std::to_string(low) + " to " + std::to_string(high));
        return value;
    }
    void finish() {
        const uint64_t expected = checksum_.value();
        uint64_t stored = 0;
        bytes(&stored, sizeof stored);
        if (stored != expected) throw CodedError("STATE_DAMAGED", "The state's checksum does not match: the file was changed");
    }

private:
    const ReadBytes& read_;
    Checksum checksum_;
};

// Pages read so far, given back to the pool unless they reach their sequence.
class Staging {
public:
    Staging(SequenceTable& sequences, int table_count) : sequences_(sequences), tables(table_count) {}
    Staging(Staging&&) = default;
    ~Staging() { sequences_.discard(tables); }

private:
    SequenceTable& sequences_;

public:
    int id = 0;
    Extent extent;
    std::vector<PageTable> tables;
};

void write_reference(const Cache& cache, int table, const PageRef& reference, Writer& writer) {
    const PageLayout& layout = cache.table().layout(table, reference);
    const HeadShape& shape = cache.table().shape(table);
    writer.number<int32_t>(reference.position);
    writer.number<uint16_t>(reference.count);
    writer.number<uint16_t>(reference.rows);
    writer.number<uint16_t>(reference.begin);
    writer.number<uint8_t>(uint8_t(reference.format));
    writer.number<uint8_t>(reference.centre);
    writer.number(uint8_t(reference.kind));
    if (format_info(reference.format).coded || reference.gapped()) {
        writer.bytes(reference.page, layout.bytes);
        return;
    }
    const size_t key_row = shape.key_dim * 2, value_row = shape.value_dim * 2;
    writer.bytes(reference.page + layout.keys + reference.begin * key_row, reference.count * key_row);
    writer.bytes(reference.page + layout.values + reference.begin * value_row, reference.count * value_row);
}

// The reference's centre is the state's number for it.
PageRef read_reference(Cache& cache, int table, size_t centres, Reader& reader, PageTable& references) {
    SequenceTable& sequences = cache.table();
    PageRef reference;
    reference.position = reader.number<int32_t>(0, INT32_MAX - kPageRows * (1 + kMostGap), "position");
    if (!references.empty() && reference.position < references.back().end_position())
        throw CodedError("STATE_DAMAGED", "The state's rows are not in order of position");
    reference.count = reader.number<uint16_t>(1, kPageRows, "row count");
    reference.rows = reader.number<uint16_t>(1, kPageRows, "page size");
    reference.begin = reader.number<uint16_t>(0, kPageRows - 1, "first row");
    reference.format = Format(reader.number<uint8_t>(0, kFormatCount - 1, "page format"));
    const uint8_t centre = reader.number<uint8_t>();
    reference.kind = PageKind(reader.number<uint8_t>(0, 2, "page kind"));
    const FormatInfo& info = format_info(reference.format);
    const bool whole = info.coded || reference.gapped();
    const bool has_size = !whole || reference.rows == kPageRows || (!info.packed && !reference.gapped() && reference.rows == kWindowPageRows);
    if (reference.end_row() > reference.rows || !has_size || (info.packed ? centre >= centres : centre != kNoCentre))
        throw CodedError("STATE_DAMAGED", "A page of the state has rows outside itself");
    reference.centre = centre;
    const PageLayout& layout = sequences.layout(table, reference);
    reference.page = sequences.allocate(layout);
    if (reference.page == nullptr)
        throw CodedError(sequences.pool().hit_limit() ? "POOL_LIMIT_REACHED" : "OUT_OF_MEMORY", "The pool has no page for the rows of the state");
    make_room(references);
    references.push_back(reference);
    const HeadShape& shape = sequences.shape(table);
    if (whole) {
        reader.bytes(reference.page, layout.bytes);
        for (int i = 0; i < info.refined; i++)
            if (reference.page[layout.refined_rows + i] > kPageRows) throw CodedError("STATE_DAMAGED", "A page of the state refines a row outside itself");
        if (reference.gapped()) {
            int32_t positions[kPageRows];
            sequences.row_positions(table, reference, positions);
            references.back().missing = uint16_t(positions[reference.count - 1] - reference.position + 1 - reference.count);
        }
    } else {
        const size_t key_row = shape.key_dim * 2, value_row = shape.value_dim * 2;
        reader.bytes(reference.page + layout.keys + reference.begin * key_row, reference.count * key_row);
        reader.bytes(reference.page + layout.values + reference.begin * value_row, reference.count * value_row);
    }
    return reference;
}

// Gives packed pages the cache's numbers for their centres.
void number_centres(Cache& cache, const std::vector<std::vector<float>>& centres, std::vector<Staging>& staged) {
    std::vector<int> numbers(centres.size(), -1);
    std::vector<bool> taken(256, false);
    for (Staging& sequence : staged)
        for (PageTable& table : sequence.tables)
            for (PageRef& reference : table) {
                if (reference.centre == kNoCentre) continue;
                int& number = numbers[reference.centre];
                if (number < 0) number = cache.add_centre(centres[reference.centre], taken);
                if (number < 0) throw CodedError("OUT_OF_MEMORY", "The pages of this context have too many different centres");
                taken[number] = true;
                reference.centre = uint8_t(number);
            }
}

void read_header(const Cache& cache, uint64_t fingerprint, Reader& reader) {
    char magic[4];
    reader.bytes(magic, sizeof magic);
    if (std::memcmp(magic, kMagic, sizeof magic) != 0) throw CodedError("STATE_FOREIGN", "The state was not written by llama-deltastore");
    const uint32_t version = reader.number<uint32_t>();
    if (version != kStateVersion)
        throw CodedError("STATE_FOREIGN", "The state has version " + std::to_string(version) + "; this build reads " +
                                              std::to_string(kStateVersion));
    if (reader.number<uint64_t>() != fingerprint)
        throw CodedError("STATE_MODEL_MISMATCH", "The state was written with another model");
    const bool rotated = reader.number<uint8_t>(0, 1, "rotation") != 0;
    if (rotated != cache.options().rotate)
        throw CodedError("STATE_FORMAT_MISMATCH", rotated ? "The state is of a context that packs rows; this one keeps all rows F16"
                                                          : "The state is of a context that keeps all rows F16; this one packs them");
    const auto& layers = cache.options().layers;
    const auto mismatch = [] { return CodedError("STATE_MODEL_MISMATCH", "The state's layers have other shapes than this model's"); };
    if (reader.number<uint32_t>() != layers.size()) throw mismatch();
    for (const LayerShape& layer : layers) {
        const uint32_t kv_heads = reader.number<uint32_t>(), key_dim = reader.number<uint32_t>(), value_dim = reader.number<uint32_t>();
        if (int(kv_heads) != layer.kv_heads || int(key_dim) != layer.head.key_dim || int(value_dim) != layer.head.value_dim)
            throw mismatch();
    }
}

}  // namespace

void write_state(const Cache& cache, uint64_t fingerprint, const std::vector<int>& sequences, const WriteBytes& write) {
    std::lock_guard<std::mutex> guard(cache.lock());
    Writer writer(write);
    writer.bytes(kMagic, sizeof kMagic);
    writer.number(kStateVersion);
    writer.number(fingerprint);
    writer.number<uint8_t>(cache.options().rotate);
    writer.number(uint32_t(cache.options().layers.size()));
    for (const LayerShape& layer : cache.options().layers) {
        writer.number(uint32_t(layer.kv_heads));
        writer.number(uint32_t(layer.head.key_dim));
        writer.number(uint32_t(layer.head.value_dim));
    }
    writer.number(uint32_t(cache.centres()));
    for (int index = 0; index < cache.centres(); index++) writer.bytes(cache.centre(index, 0), cache.centre_floats() * sizeof(float));
    writer.number(uint32_t(sequences.size()));
    for (int sequence : sequences) {
        writer.number(int32_t(sequence));
        writer.number(uint32_t(cache.table().tokens(sequence)));
        const Extent& extent = cache.table().extent(sequence);
        writer.number<uint8_t>(extent.evicted);
        writer.number(extent.begin);
        writer.number(extent.end);
        writer.number(extent.until);
        for (int table = 0; table < cache.table().tables(); table++) {
            const PageTable& references = cache.table().table(sequence, table);
            writer.number(uint32_t(references.size()));
            for (const PageRef& reference : references) write_reference(cache, table, reference, writer);
        }
    }
    writer.finish();
}

void read_state(Cache& cache, uint64_t fingerprint, int target, size_t most_tokens, const ReadBytes& read) {
    std::lock_guard<std::mutex> guard(cache.lock());
    Reader reader(read);
    read_header(cache, fingerprint, reader);

    const uint32_t centre_count = reader.number<uint32_t>(0, 255, "number of centres");
    std::vector<std::vector<float>> centres(centre_count);
    for (auto& vector : centres) {
        vector.resize(cache.centre_floats());
        reader.bytes(vector.data(), vector.size() * sizeof(float));
        for (float value : vector)
            if (!(std::abs(value) <= 65504.0f)) throw CodedError("STATE_DAMAGED", "A centre of the state is not finite");
    }

    cache.account(0, centre_count * cache.centre_floats() * sizeof(float));
    SequenceTable& sequences = cache.table();
    const uint32_t count = reader.number<uint32_t>(0, uint32_t(cache.options().max_sequences), "number of sequences");
    if (target >= 0 && count != 1) throw CodedError("STATE_DAMAGED", "The state holds " + std::to_string(count) + " sequences instead of one");
    std::vector<Staging> staged;
    for (uint32_t i = 0; i < count; i++) {
        staged.emplace_back(sequences, sequences.tables());
        const int32_t id = reader.number<int32_t>();
        staged.back().id = target >= 0 ? target : id;
        if (staged.back().id < 0 || staged.back().id >= cache.options().max_sequences)
            throw CodedError("STATE_DAMAGED", "The state names sequence " + std::to_string(id));
        const uint32_t tokens = reader.number<uint32_t>();
        if (tokens > most_tokens)
            throw CodedError("STATE_TOO_LARGE", "The state holds " + std::to_string(tokens) + " tokens; this sequence has room for " +
                                                    std::to_string(most_tokens));
        Extent& extent = staged.back().extent;
        extent.evicted = reader.number<uint8_t>(0, 1, "evicted flag") != 0;
        extent.begin = reader.number<int32_t>();
        extent.end = reader.number<int32_t>();
        extent.until = reader.number<int32_t>();
        const bool ordered = extent.begin >= 0 && extent.begin < extent.end && extent.until >= 0 && extent.until <= extent.end;
        if (extent.evicted ? !ordered || uint32_t(extent.end - extent.begin) != tokens : extent.begin != 0 || extent.end != 0 || extent.until != 0)
            throw CodedError("STATE_DAMAGED", "The state's sequence has other positions than tokens");
        for (int table = 0; table < sequences.tables(); table++) {
            const uint32_t references = reader.number<uint32_t>(0, tokens, "number of pages");
            uint32_t rows = 0;
            for (uint32_t r = 0; r < references; r++) rows += read_reference(cache, table, centres.size(), reader, staged.back().tables[table]).count;
            if (rows > tokens) throw CodedError("STATE_DAMAGED", "The state has more rows than tokens");
        }
    }
    reader.finish();
    number_centres(cache, centres, staged);
    for (Staging& sequence : staged) sequences.install(sequence.id, sequence.tables, sequence.extent);
}

}  // namespace deltastore
