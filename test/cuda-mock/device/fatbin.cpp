#include "fatbin.h"

#include <dlfcn.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace cuda_mock {

namespace {

// Layouts as nvcc 12 and 13 write them; the fields that aren't read have no names.
struct FatBinary {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t bytes;
};
struct Entry {
    uint16_t kind, version;
    uint32_t header_bytes;
    uint64_t bytes;
    uint32_t compressed_bytes, unused0;
    uint16_t unused1, unused2;
    uint32_t capability;
    uint32_t unused3, unused4;
    uint64_t flags, unused5, plain_bytes;
};
constexpr uint32_t kMagic = 0xBA55ED50;
constexpr uint16_t kPtx = 1;
constexpr uint64_t kLz4 = 0x2000, kZstd = 0x8000;

size_t lz4_length(const uint8_t*& at, const uint8_t* end, size_t length) {
    if (length != 15) return length;
    for (uint8_t byte = 255; byte == 255 && at < end;)
        length += byte = *at++;
    return length;
}

// A block of LZ4: literals, then a match, again and again.
std::string from_lz4(const uint8_t* at, size_t bytes, size_t plain_bytes) {
    const uint8_t* const end = at + bytes;
    std::string out;
    out.reserve(plain_bytes);
    while (at < end) {
        const uint8_t token = *at++;
        const size_t literals = lz4_length(at, end, token >> 4);
        if (literals > size_t(end - at)) throw std::runtime_error("PTX is cut off");
        out.append(reinterpret_cast<const char*>(at), literals);
        at += literals;
        if (end - at < 2) break;
        const size_t back = at[0] | size_t(at[1]) << 8;
        at += 2;
        const size_t length = lz4_length(at, end, token & 15) + 4;
        if (back == 0 || back > out.size()) throw std::runtime_error("PTX is damaged");
        for (size_t i = 0; i < length; i++)
            out.push_back(out[out.size() - back]);
    }
    return out;
}

std::string from_zstd(const uint8_t* at, size_t bytes, size_t plain_bytes) {
    using Decompress = size_t (*)(void*, size_t, const void*, size_t);
    static const auto decompress = [] {
        void* library = dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL);
        return reinterpret_cast<Decompress>(library ? dlsym(library, "ZSTD_decompress") : nullptr);
    }();
    if (decompress == nullptr) throw std::runtime_error("libzstd.so.1 is needed to read this PTX");
    std::string out(plain_bytes, '\0');
    if (decompress(out.data(), plain_bytes, at, bytes) != plain_bytes) throw std::runtime_error("PTX is damaged");
    return out;
}

}  // namespace

bool is_fat_binary(const void* image) {
    uint32_t magic;
    std::memcpy(&magic, image, sizeof magic);
    return magic == kMagic;
}

std::string ptx_for(const void* fat_binary, int capability) {
    FatBinary whole;
    std::memcpy(&whole, fat_binary, sizeof whole);
    const uint8_t *at = static_cast<const uint8_t*>(fat_binary) + whole.header_bytes, *const end = at + whole.bytes, *best = nullptr;
    Entry chosen{};
    while (at < end) {
        Entry entry;
        std::memcpy(&entry, at, sizeof entry);
        if (entry.kind == kPtx && int(entry.capability) <= capability && (best == nullptr || entry.capability > chosen.capability)) {
            best = at + entry.header_bytes;
            chosen = entry;
        }
        at += entry.header_bytes + entry.bytes;
    }
    if (best == nullptr) throw std::runtime_error("no PTX for compute capability " + std::to_string(capability));
    if (chosen.flags & kZstd) return from_zstd(best, chosen.compressed_bytes, chosen.plain_bytes);
    if (chosen.flags & kLz4) return from_lz4(best, chosen.compressed_bytes, chosen.plain_bytes);
    return std::string(reinterpret_cast<const char*>(best), chosen.bytes);
}

}  // namespace cuda_mock
