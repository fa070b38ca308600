// Every way that a saved state can be wrong: it is refused by its name, and the cache stays as it was.
#include "next_outputs.h"
#include "saved_state.h"

using namespace deltastore;

static void check_cut_short(Format format) {
    Damaged at(format);
    const Unchanged before(at.target);
    for (size_t length = 0; length < at.bytes.size() && check::clean(); length++) {
        const std::string code = load(at.target, Bytes(at.bytes.begin(), at.bytes.begin() + length));
        if (code != "STATE_DAMAGED") check::fail(__FILE__, __LINE__, "cut at " + std::to_string(length) + ": '" + code + "'");
        before.check();
    }
    at.target.compare_rows();
    CHECK_EQUAL(load(at.target, at.bytes).size(), size_t(0));
}

static void check_flips(Format format) {
    Damaged at(format);
    const Unchanged before(at.target);
    Random random(check::state().seed);
    std::set<std::string> codes;
    for (size_t byte = 0; byte < at.bytes.size() && check::clean(); byte++) {
        for (const int bits : {1 << byte % 8, random.between(1, 255)}) {
            at.bytes[byte] ^= uint8_t(bits);
            const std::string code = load(at.target, at.bytes, -1, {}, 10000);
            at.bytes[byte] ^= uint8_t(bits);
            if (code.empty()) check::fail(__FILE__, __LINE__, "byte " + std::to_string(byte) + " flipped: no error");
            codes.insert(code);
            before.check();
        }
    }
    for (const std::string& code : codes) std::printf("# %s\n", code.c_str());
    for (const char* known : {"STATE_FOREIGN", "STATE_MODEL_MISMATCH", "STATE_DAMAGED"}) CHECK(codes.count(known) == 1);
    at.target.compare_rows();
    CHECK_EQUAL(load(at.target, at.bytes).size(), size_t(0));
    at.target.clear();
    CHECK_EQUAL(at.target.cache.stats().pages, size_t(0));
}

// The checksum over changed bytes, by its definition in state.h's implementation.
static void reseal(Bytes& bytes, const std::vector<size_t>& parts) {
    uint64_t hash = 0xcbf29ce484222325ull;
    size_t at = 0;
    for (const size_t part : parts)
        for (size_t done = 0; done < part; done += 8) {
            uint64_t word = 0;
            const size_t count = std::min<size_t>(8, part - done);
            std::memcpy(&word, bytes.data() + at, count);
            at += count;
            hash = (hash ^ word) * 0x100000001b3ull;
            hash ^= hash >> 29;
        }
    hash ^= hash >> 32;
    std::memcpy(bytes.data() + at, &hash, 8);
}

// Sizes of the writes that save sequences 0 and 1, in order, without the checksum.
static std::vector<size_t> parts_of(const CacheModel& model) {
    std::vector<size_t> parts;
    write_state(model.cache, kOrigin, {0, 1}, [&](const void*, size_t count) { parts.push_back(count); });
    parts.pop_back();
    return parts;
}

// Forged bytes under a right checksum give an error by name, or rows of some value. They never reach memory outside the page.
static void check_forged(Format format, uint64_t seed) {
    Damaged at(format);
    const std::vector<size_t> parts = parts_of(at.source);
    Bytes honest = at.bytes;
    reseal(honest, parts);
    CHECK(honest == at.bytes);
    Random random(seed);
    int loaded = 0, refused = 0;
    for (int round = 0; round < 600 && check::clean(); round++) {
        Bytes forged = at.bytes;
        // Mostly what is not codes: parts of a few bytes, and the ends of pages.
        size_t begin = 0, part = 0;
        for (const size_t chosen = random.between(0, int(parts.size()) - 1); part < chosen; part++) begin += parts[part];
        const size_t offset = parts[part] < 64 || random.chance(0.5) ? random.between(0, int(parts[part]) - 1) : parts[part] - random.between(1, 64);
        forged[begin + offset] = uint8_t(random.chance(0.5) ? random.next() : 0xff);
        reseal(forged, parts);
        CacheModel target(small_options(format), *select_kernels(), 3);
        const std::string code = load(target, forged, -1, {}, 10000);
        (code.empty() ? loaded : refused)++;
        if (!code.empty()) CHECK_EQUAL(target.cache.stats().pages, size_t(0));
        for (int sequence : {0, 1}) go_on_anyhow(target.cache, sequence, random);
        if (at.target.cache.options().eviction) target.cache.evict(0, *at.target.cache.options().eviction);
        target.cache.clear();
    }
    CHECK_AT_LEAST(loaded, 50);
    CHECK_AT_LEAST(refused, 50);
}

static void check_refused() {
    Damaged at(Format::k4v4);
    const Unchanged before(at.target);
    CHECK_CODE(load(at.target, at.bytes, -1, {}, 69), "STATE_TOO_LARGE");
    CHECK_CODE(load(at.target, at.bytes, 1), "STATE_DAMAGED");  // two sequences for one place
    CHECK_CODE(load(at.target, {}), "STATE_DAMAGED");
    CHECK_CODE(load(at.target, Bytes(10000, 0)), "STATE_FOREIGN");
    Bytes version = at.bytes;
    version[4]++;
    CHECK_CODE(load(at.target, version), "STATE_FOREIGN");
    CacheOptions rotating = small_options(Format::k4v4);
    rotating.rotate = true;
    CacheModel rotated(rotating, *select_kernels(), 1);
    rotated.add(0, 10);
    CHECK_CODE(load(at.target, save(rotated, {0}), 0), "STATE_FORMAT_MISMATCH");
    CHECK_CODE(load(rotated, at.bytes), "STATE_FORMAT_MISMATCH");
    CacheModel other(make_options(Format::k4v4), *select_kernels(), 1);
    other.add(0, 10);
    CHECK_CODE(load(at.target, save(other, {0})), "STATE_MODEL_MISMATCH");
    CHECK_CODE(load(other, at.bytes), "STATE_MODEL_MISMATCH");
    CacheOptions few = small_options(Format::k4v4);
    few.max_sequences = 1;
    CacheModel narrow(few, *select_kernels(), 1);
    CHECK_CODE(load(narrow, at.bytes), "STATE_DAMAGED");
    CHECK_EQUAL(narrow.cache.stats().pages, size_t(0));
    before.check();
    at.target.compare();
    at.target.compare_rows();
}

static void check_origins() {
    Damaged at(Format::k4v4);
    const Unchanged before(at.target);
    for (const OtherOrigin& other : other_origins()) {
        std::string message;
        CHECK_CODE(load(at.target, at.bytes, -1, {other.origin}, kMany, &message), "STATE_MODEL_MISMATCH");
        if (message != "The state was made with " + other.words) check::fail(__FILE__, __LINE__, message);
    }
    for (size_t bit = 0; bit < 8 * kOriginBytes; bit++) {
        Bytes damaged = at.bytes;
        damaged[kOriginBegin + bit / 8] ^= uint8_t(1 << bit % 8);
        CHECK_CODE(load(at.target, damaged), "STATE_DAMAGED");
    }
    // What nobody has told has a size, and is read by nobody.
    const Bytes untold = save(at.source, {0, 1}, {});
    CHECK_EQUAL(untold.size(), at.bytes.size());
    CHECK_CODE(load(at.target, untold), "STATE_MODEL_MISMATCH");
    before.check();
    CHECK_CODE(load(at.target, at.bytes, -1, {kOrigin, kFingerprint + 1}), "");
}

static void check_version_5(Format format) {
    Damaged at(format);
    std::vector<size_t> parts = parts_of(at.source);
    size_t begin = 0, first = 0;
    while (begin < kOriginBegin) begin += parts[first++];
    size_t last = first;
    for (size_t end = begin; end < begin + kOriginBytes; last++) end += parts[last];
    parts.erase(parts.begin() + first + 1, parts.begin() + last);
    parts[first] = sizeof kFingerprint;
    Bytes old = with_fingerprint(at.bytes, kStateWithFingerprint, kFingerprint);
    CHECK_CODE(load(at.target, old), "STATE_DAMAGED");  // its checksum
    reseal(old, parts);
    const Unchanged before(at.target);
    CHECK_CODE(load(at.target, old, -1, {kOrigin, kFingerprint + 1}), "STATE_MODEL_MISMATCH");
    before.check();
    for (const OtherOrigin& other : other_origins()) CHECK_CODE(load(at.target, old, -1, {other.origin}), "");  // it can't be told by these
    CacheModel fresh(small_options(format), *select_kernels(), 3);
    CHECK_CODE(load(fresh, old), "");
    CHECK(save(fresh, {0, 1}) == at.bytes);
    old[4] = uint8_t(kStateWithFingerprint - 1);
    CHECK_CODE(load(at.target, old), "STATE_FOREIGN");
}

int main(int argc, char** argv) {
    check::begin(argc, argv);
    std::printf("# kernel %s\n", select_kernels()->name);
    for (const Format format : kTierFormats) {
        const std::string name = format_info(format).name;
        check::run("state: is refused when cut short at any length, " + name, [&] { check_cut_short(format); });
        check::run("state: forged bytes are refused or give rows of some value, " + name, [&] { check_forged(format, check::state().seed); });
        check::run("state: is refused with any byte flipped, " + name, [&] { check_flips(format); });
    }
    check::run("state: another model, format, version or size is refused", check_refused);
    check::run("state: another origin, or a damaged one, is refused", check_origins);
    for (const Format format : {Format::f16, Format::k4v4})
        check::run(std::string("state: version 5 is read, and refused for another model, ") + format_info(format).name, [&] { check_version_5(format); });
    return check::finish();
}
