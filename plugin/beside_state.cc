#include "beside_state.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "packed_memory.h"

namespace deltastore {

static constexpr uint32_t kBesideVersion = 2;  // 1 had windows as llama.cpp writes them
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

class Counter final : public llama_io_write_i {
public:
    void write(const void*, size_t size) override { count_ += size; }
    void write_tensor(ggml_tensor*, size_t, size_t size) override { count_ += size; }
    size_t n_bytes() override { return count_; }

private:
    size_t count_ = 0;
};

void write_beside(const MemoryParts& parts, llama_io_write_i& io, llama_seq_id sequence) {
    for (const llama_memory_i* part : parts.beside()) part->state_write(io, sequence);
}

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

void check_end(llama_pos to, llama_pos end) {
    if (to != end) damaged("ends at position " + std::to_string(to) + "; the attention's rows end at " + std::to_string(end));
}

// llama.cpp asserts what a sequence's state says of its cells, and can't remove some positions again. So this is checked before. It begins with the
// number of cells. A cell begins with its position.
void check_recurrent(const BytesIn& io, llama_pos end) {
    const uint32_t cells = io.ahead(0);
    if (cells > 1) damaged("has " + std::to_string(cells) + " cells; there is room for 1");
    check_end(cells == 0 ? -1 : llama_pos(io.ahead(sizeof cells)), end);
}

// A part must end where the attention does. A packed one has checked its bytes itself.
void read_part(const MemoryParts& parts, llama_memory_i* part, BytesIn& io, llama_seq_id sequence) {
    const llama_pos end = sequence < 0 ? -1 : parts.attention->seq_pos_max(sequence);
    if (sequence >= 0 && part == parts.recurrent) check_recurrent(io, end);
    part->state_read(io, sequence);
    if (sequence < 0) return;
    check_end(part->seq_pos_max(sequence), end);
    if (part != parts.window) return;
    const Cache& window = parts.packed_window()->cache();
    if (std::lock_guard<std::mutex> guard(window.lock()); !window.table().has_all_rows(sequence)) damaged("lacks rows of its windows");
    if (const std::string reason = parts.why_not_behind(sequence, end + 1); !reason.empty()) throw CodedError("STATE_DAMAGED", reason);
}

}  // namespace

size_t count_raw_beside_state(const MemoryParts& parts, llama_seq_id sequence) {
    Counter counter;
    write_beside(parts, counter, sequence);
    return counter.n_bytes();
}

Bytes raw_beside_state(const MemoryParts& parts, llama_seq_id sequence) {
    BytesOut out;
    out.bytes.reserve(count_raw_beside_state(parts, sequence));
    write_beside(parts, out, sequence);
    return std::move(out.bytes);
}

Bytes beside_state(const MemoryParts& parts, llama_seq_id sequence) {
    BytesOut out;
    Writer writer([&](const void* bytes, size_t count) { out.write(bytes, count); });
    writer.bytes(kMagic, 4);
    writer.number(kBesideVersion);
    const size_t count_at = out.bytes.size();
    writer.number(uint64_t(0));
    const size_t begin = out.bytes.size();
    write_beside(parts, out, sequence);
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
    BytesIn io(bytes);
    try {
        for (llama_memory_i* part : beside) read_part(parts, part, io, sequence);
        if (io.n_bytes() != bytes.size()) damaged("goes on behind its end");
    } catch (const std::exception& error) {
        empty(beside, sequence);
        if (dynamic_cast<const CodedError*>(&error) || dynamic_cast<const std::bad_alloc*>(&error)) throw;
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
