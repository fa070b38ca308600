#include "state.h"

#include <cstring>
#include <string>

#include "failure.h"
#include "rows_io.h"

namespace deltastore {

static constexpr char kMagic[4] = {'D', 'S', 'T', 'S'};

namespace {

// Gives packed pages the cache's numbers for their centres.
void number_centres(Cache& cache, const std::vector<std::vector<float>>& centres, std::vector<Staging>& staged) {
    std::vector<int> numbers(centres.size(), -1);
    std::vector<bool> taken(256, false);
    for (Staging& sequence : staged)
        for (PageTable& table : sequence.tables)
            for (PageRef& reference : table) {
                if (reference.centre == kNoCentre) continue;
                int& number = numbers[reference.centre];
                if (number < 0) number = cache.table().add_centre(cache.centres(), centres[reference.centre], taken);
                if (number < 0) throw CodedError("OUT_OF_MEMORY", "The pages of this context have too many different centres");
                taken[number] = true;
                reference.centre = uint8_t(number);
            }
}

}  // namespace

void write_state(const Cache& cache, const Origin& origin, const std::vector<int>& sequences, const WriteBytes& write) {
    std::lock_guard<std::mutex> guard(cache.lock());
    Checksum checksum;
    Writer writer([&](const void* bytes, size_t count) {
        checksum.add(bytes, count);
        write(bytes, count);
    });
    writer.bytes(kMagic, sizeof kMagic);
    writer.number(kStateVersion);
    origin.write(writer);
    write_shapes(cache, writer);
    writer.number(uint32_t(cache.centres().count()));
    for (int index = 0; index < cache.centres().count(); index++) writer.bytes(cache.centres().at(index, 0), cache.centres().floats() * sizeof(float));
    writer.number(uint32_t(sequences.size()));
    for (int sequence : sequences) {
        writer.number(int32_t(sequence));
        writer.number(uint32_t(cache.table().tokens(sequence)));
        write_extent(cache.table().extent(sequence), writer);
        for (int table = 0; table < cache.table().tables(); table++) {
            const PageTable& references = cache.table().table(sequence, table);
            writer.number(uint32_t(references.size()));
            for (const PageRef& reference : references) write_reference(cache.table(), table, reference, reference.centre, writer);
        }
    }
    const uint64_t value = checksum.value();
    write(&value, sizeof value);
}

void read_state(Cache& cache, const Origin& origin, uint64_t fingerprint, int target, size_t most_tokens, const ReadBytes& read) {
    std::lock_guard<std::mutex> guard(cache.lock());
    Checksum checksum;
    Reader reader([&](void* bytes, size_t count) {
        read(bytes, count);
        checksum.add(bytes, count);
    });
    char magic[4];
    reader.bytes(magic, sizeof magic);
    if (std::memcmp(magic, kMagic, sizeof magic) != 0) throw CodedError("STATE_FOREIGN", "The state was not written by llama-deltastore");
    const uint32_t version = reader.number<uint32_t>();
    if (version < kStateWithFingerprint || version > kStateVersion)
        throw CodedError("STATE_FOREIGN", "The state has version " + std::to_string(version) + "; this build reads " +
                                              std::to_string(kStateWithFingerprint) + " to " + std::to_string(kStateVersion));
    if (version == kStateVersion) origin.require(Origin::read(reader));
    else require_fingerprint(fingerprint, reader);
    read_shapes(cache, reader);

    const uint32_t centre_count = reader.number<uint32_t>(0, 255, "number of centres");
    std::vector<std::vector<float>> centres;
    for (uint32_t i = 0; i < centre_count; i++) centres.push_back(read_centre(cache, reader));

    cache.accounting().charge(0, centre_count * cache.centres().floats() * sizeof(float));
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
        staged.back().extent = read_extent(tokens, reader);
        for (int table = 0; table < sequences.tables(); table++) {
            const uint32_t pages = reader.number<uint32_t>(0, tokens, "number of pages");
            uint32_t rows = 0;
            for (uint32_t r = 0; r < pages; r++) rows += read_reference(staged.back(), table, {centres.size()}, reader);
            if (rows > tokens) throw CodedError("STATE_DAMAGED", "The state has more rows than tokens");
        }
        finish_tables(staged.back());
    }
    const uint64_t expected = checksum.value();
    if (reader.number<uint64_t>() != expected) throw CodedError("STATE_DAMAGED", "The state's checksum does not match: the file was changed");
    number_centres(cache, centres, staged);
    for (Staging& sequence : staged) cache.install(sequence.id, sequence.tables, sequence.extent, Watch(sequences.tables()));
}

}  // namespace deltastore
