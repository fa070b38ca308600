#include "beside_state.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "packed_memory.h"

namespace deltastore {

static constexpr uint32_t kBesideVersion = 1;
static constexpr char kMagic[] = "DSBS";
static constexpr size_t kReadAtOnce = 1 << 20;  // a damaged count must not ask for all memory at once

namespace {

[[noreturn]] void damaged(const std::string& what) {
    throw CodedError("STATE_DAMAGED", "The state beside the attention " + what);
}

class BytesOut final : public llama_io_write_i {
public:
    Bytes bytes;

    void write(const void* source, size_t size) override {
        const auto* begin = static_cast<const uint8_t*>(source);
        bytes.insert(bytes.end(), begin, begin + size);
    }
    void write_tensor(ggml_tensor* tensor, size_t offset, size_t size) override {
        bytes.resize(bytes.size() + size);
        ggml_backend_tensor_get(tensor, bytes.data() + bytes.size() - size, offset, size);
    }
    size_t n_bytes() override { return bytes.size(); }
};

class BytesIn final : public llama_io_read_i {
public:
    explicit BytesIn(const Bytes& bytes) : bytes_(bytes) {}

    void read(void* target, size_t size) override { std::memcpy(target, take(size), size); }
    void read_tensor(ggml_tensor* tensor, size_t offset, size_t size) override { ggml_backend_tensor_set(tensor, take(size), offset, size); }
    size_t n_bytes() override { return at_; }
    // The u32 that stands so many bytes ahead.
    uint32_t ahead(size_t offset) const {
        if (bytes_.size() - at_ < offset + sizeof(uint32_t)) damaged("is cut short");
        uint32_t number;
        std::memcpy(&number, bytes_.data() + at_ + offset, sizeof number);
        return number;
    }

private:
    const uint8_t* take(size_t size) {
        if (size > bytes_.size() - at_) damaged("is cut short");
        at_ += size;
        return bytes_.data() + at_ - size;
    }

    const Bytes& bytes_;
    size_t at_ = 0;
};

uint64_t checksum_of(const Bytes& bytes) {
    Checksum checksum;
    checksum.add(bytes.data(), bytes.size());
    return checksum.value();
}

void empty(const std::vector<llama_memory_i*>& parts, llama_seq_id sequence) {
    for (llama_memory_i* part : parts) {
        if (sequence < 0) part->clear(false);
        else part->seq_rm(sequence, -1, -1);
    }
}

// llama.cpp asserts what a sequence's state says of its cells, allocates by their number, and never finds a negative position again. So this is checked
// before. A cell is its position, u32 sequences, what some models have besides, and i32 each of these sequences: one in a window, none in a recurrent state.
uint32_t check_cells(const MemoryParts& parts, bool recurrent, const BytesIn& io) {
    const size_t first = recurrent ? sizeof(uint32_t) : 2 * sizeof(uint32_t);  // behind their number, and that of streams
    const size_t extra = recurrent ? 0 : sizeof(int32_t) + (parts.packed()->saves_extensions(*parts.window) ? sizeof(llama_kv_cell_ext) : 0);
    const uint32_t cells = io.ahead(first - sizeof(uint32_t)), most = recurrent ? 1 : parts.window->get_size();
    if (cells > most) damaged("has " + std::to_string(cells) + " cells; there is room for " + std::to_string(most));
    for (uint32_t i = 0; i < cells; i++)
        if (int32_t(io.ahead(first + i * (2 * sizeof(uint32_t) + extra))) < 0) damaged("has a negative position");
    return cells;
}

// A part must end where the attention does, and a window has no gaps.
void read_part(const MemoryParts& parts, llama_memory_i* part, BytesIn& io, llama_seq_id sequence) {
    if (sequence < 0) return part->state_read(io, sequence);
    const uint32_t cells = check_cells(parts, part == parts.recurrent, io);
    part->state_read(io, sequence);
    const llama_pos from = part->seq_pos_min(sequence), to = part->seq_pos_max(sequence), end = parts.attention->seq_pos_max(sequence);
    if (to != end || (cells > 0 && to - from + 1 != llama_pos(cells)))
        damaged("has " + std::to_string(cells) + " cells of positions " + std::to_string(from) + " to " + std::to_string(to) +
                "; the attention's rows end at " + std::to_string(end));
}

}  // namespace

Bytes beside_state(const MemoryParts& parts, llama_seq_id sequence) {
    BytesOut out;
    Writer writer([&](const void* bytes, size_t count) { out.write(bytes, count); });
    writer.bytes(kMagic, 4);
    writer.number(kBesideVersion);
    const size_t count_at = out.bytes.size();
    writer.number(uint64_t(0));
    const size_t begin = out.bytes.size();
    for (const llama_memory_i* part : parts.beside()) part->state_write(out, sequence);
    const uint64_t count = out.bytes.size() - begin;
    std::memcpy(out.bytes.data() + count_at, &count, sizeof count);
    Checksum checksum;
    checksum.add(out.bytes.data() + begin, count);
    writer.number(checksum.value());
    return std::move(out.bytes);
}

bool begins_beside_state(const uint8_t* bytes, size_t count) {
    return count >= 4 && std::memcmp(bytes, kMagic, 4) == 0;
}

Bytes read_beside_state(const ReadBytes& read) {
    Reader reader(read);
    char magic[4];
    reader.bytes(magic, sizeof magic);
    if (!begins_beside_state(reinterpret_cast<const uint8_t*>(magic), sizeof magic)) damaged("does not begin as it should");
    reader.number<uint32_t>(kBesideVersion, kBesideVersion, "version");
    const uint64_t count = reader.number<uint64_t>();
    Bytes bytes;
    while (bytes.size() < count) {
        const size_t begin = bytes.size(), more = size_t(std::min<uint64_t>(count - begin, kReadAtOnce));
        bytes.resize(begin + more);
        reader.bytes(bytes.data() + begin, more);
    }
    if (reader.number<uint64_t>() != checksum_of(bytes)) damaged("has another checksum than was written");
    return bytes;
}

void restore_beside(const MemoryParts& parts, llama_seq_id sequence, const Bytes& bytes) {
    const std::vector<llama_memory_i*> beside = parts.beside();
    empty(beside, sequence);
    parts.make_room_for_state();
    BytesIn io(bytes);
    try {
        for (llama_memory_i* part : beside) read_part(parts, part, io, sequence);
        if (io.n_bytes() != bytes.size()) damaged("goes on behind its end");
    } catch (const std::bad_alloc&) {
        empty(beside, sequence);
        throw;
    } catch (const std::exception& error) {
        empty(beside, sequence);
        throw CodedError("STATE_DAMAGED", error.what());
    }
}

void write_whole(const MemoryParts& parts, llama_io_write_i& io, llama_seq_id sequence) {
    parts.attention->state_write(io, sequence);
    const Bytes bytes = beside_state(parts, sequence);
    io.write(bytes.data(), bytes.size());
}

void read_whole(const MemoryParts& parts, llama_io_read_i& io, llama_seq_id sequence) {
    try {
        parts.attention->state_read(io, sequence);
        restore_beside(parts, sequence, read_beside_state([&](void* bytes, size_t count) { io.read(bytes, count); }));
    } catch (const std::exception& error) {
        if (const auto* coded = dynamic_cast<const CodedError*>(&error)) parts.packed()->fail(coded->code(), coded->what());
        empty({parts.attention}, sequence);
        empty(parts.beside(), sequence);
        throw;
    }
}

}  // namespace deltastore
