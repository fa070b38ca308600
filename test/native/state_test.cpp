// Saved sequences: round trips, and every way that a state can be wrong, each of which leaves the cache as it was.
#include "failure.h"
#include "snapshot/state.h"
#include "cache_model.h"
#include "next_outputs.h"
#include "origins.h"

using namespace deltastore;

using Bytes = std::vector<uint8_t>;
static constexpr size_t kMany = 1 << 20;

static CacheOptions make_options(Format format, int window = 16, int sinks = 4, size_t limit = 0) {
    CacheOptions options;
    options.layers = {{4, 2, {64, 64}}, {2, 1, {128, 64}}};
    options.format = format;
    options.window_format = window_format_of(format);
    options.window = window;
    options.sinks = sinks;
    options.pool_limit = limit;
    options.max_sequences = 3;
    return options;
}

static CacheOptions small_options(Format format) {
    CacheOptions options = make_options(format, format_info(format).refined > 0 ? 16 : 0, 4);
    options.layers = {{1, 1, {64, 64}}};
    return options;
}

static Bytes save(const CacheModel& model, const std::vector<int>& sequences, const Origin& origin = kOrigin) {
    Bytes bytes;
    write_state(model.cache, origin, sequences, [&](const void* source, size_t count) {
        const uint8_t* from = static_cast<const uint8_t*>(source);
        bytes.insert(bytes.end(), from, from + count);
    });
    return bytes;
}

// The code that reading throws; empty if it succeeds. `message`: the error's.
static std::string load(CacheModel& model, const Bytes& bytes, int target = -1, const Own& own = {}, size_t most = kMany, std::string* message = nullptr) {
    size_t at = 0;
    try {
        read_state(model.cache, own.origin, own.fingerprint, target, most, [&](void* wanted, size_t count) {
            if (count > bytes.size() - at) throw std::runtime_error("end of file");
            std::memcpy(wanted, bytes.data() + at, count);
            at += count;
        });
    } catch (const CodedError& error) {
        if (message != nullptr) *message = error.what();
        return error.code();
    }
    CHECK_EQUAL(at, bytes.size());
    return "";
}

// A cache that must not change, whatever is loaded into it.
class Unchanged {
public:
    explicit Unchanged(const CacheModel& model)
        : model_(model), tables_(model.tables()), pages_(model.cache.stats().pages), own_(model.own_bytes()),
          centres_(model.cache.centres().count()) {}
    void check() const {
        CHECK(model_.same_tables(tables_));
        CHECK_EQUAL(model_.cache.stats().pages, pages_);
        CHECK_EQUAL(model_.own_bytes(), own_);
        CHECK_EQUAL(model_.cache.centres().count(), centres_);
    }

private:
    const CacheModel& model_;
    std::vector<std::vector<PageTable>> tables_;
    size_t pages_, own_;
    int centres_;
};

static void check_round_trip(const CacheOptions& options, uint64_t seed) {
    Random random(seed);
    CacheModel source(options, *select_kernels(), seed);
    for (int i = 0; i < 6; i++) source.add(i % 2, random.between(1, 200));
    source.add(2, 30);
    source.erase(0, 50, 90);
    source.shift(0, 90, INT32_MAX, -40);
    CHECK(source.apply_shifts() == Failure::none);
    source.fork(0, 2, 10, 200);
    const Bytes bytes = save(source, {0, 1, 2});
    CacheModel target(options, *select_kernels(), seed);
    target.add(1, 100);  // replaced
    CHECK_EQUAL(load(target, bytes).size(), size_t(0));
    target.sequences = source.sequences;
    target.compare();
    target.compare_rows();
    CacheModel fresh(options, *select_kernels(), seed);
    CHECK_EQUAL(load(fresh, bytes).size(), size_t(0));
    CHECK(save(fresh, {0, 1, 2}) == bytes);
    // One sequence into a place of its own.
    const Bytes one = save(source, {1});
    CHECK_EQUAL(load(target, one, 2).size(), size_t(0));
    target.sequences[2] = source.sequences[1];
    target.compare();
    target.compare_rows();
    target.next_id = source.next_id;
    const std::vector<float> expected = next_outputs(source, 1, Random(5));
    CHECK(next_outputs(target, 2, Random(5)) == expected);
    target.clear();
    CHECK_EQUAL(target.cache.stats().pages, size_t(0));
    CHECK_EQUAL(target.cache.stats().resident_bytes, target.own_bytes());
    // Into a context with other sinks and another window: the same rows.
    CacheOptions other = options;
    other.sinks = options.sinks == 0 ? 4 : 0;
    other.window = options.window + 32;
    CacheModel elsewhere(other, *select_kernels(), seed);
    CHECK_EQUAL(load(elsewhere, one, 0).size(), size_t(0));
    elsewhere.sequences[0].assign(source.sequences[1].begin(), source.sequences[1].end() - 20);
    elsewhere.compare();
    elsewhere.compare_rows();
    next_outputs(elsewhere, 0, Random(5));
}

// Some state of two sequences, small, with packed and exact pages, and a cache that holds something else.
struct Damaged {
    explicit Damaged(Format format, size_t limit = 0)
        : source(small_options(format), *select_kernels(), 1), target(with_limit(small_options(format), limit), *select_kernels(), 2) {
        source.add(0, 70);
        source.add(1, 3);
        bytes = save(source, {0, 1});
        target.add(0, 80);
        target.add(2, 5);
    }
    static CacheOptions with_limit(CacheOptions options, size_t limit) {
        options.pool_limit = limit;
        return options;
    }
    CacheModel source, target;
    Bytes bytes;
};

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

// Sizes of what is written of sequences 0 and 1, one behind the other, but for the checksum.
static std::vector<size_t> parts_of(const CacheModel& model) {
    std::vector<size_t> parts;
    write_state(model.cache, kOrigin, {0, 1}, [&](const void*, size_t count) { parts.push_back(count); });
    parts.pop_back();
    return parts;
}

// Bytes that no honest writer wrote, under a right checksum: refused by name, or rows of some value; never memory that is not the page's.
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

// Rows of other tiers stay as they are, and rows of the sequence's own come behind them.
static void check_other_formats() {
    for (const Format format : {Format::f16, Format::k4v2, Format::k3v2r14}) {
        Damaged from(format);
        CacheModel target(small_options(Format::k4v4), *select_kernels(), 1);
        CHECK_CODE(load(target, from.bytes), "");
        target.sequences = from.source.sequences;
        target.extents = from.source.extents;
        for (int round = 0; round < 3; round++) CHECK(target.add(0, 70) == Failure::none);
        target.compare();
        CHECK(format_info(target.cache.table().table(0, 0).back().format).key_bits == 4);
    }
}

static void check_pool_limit() {
    CacheModel source(small_options(Format::k4v4), *select_kernels(), 1);
    source.add(0, 3000);
    const Bytes bytes = save(source, {0});
    Damaged at(Format::k4v4, 150 << 10);
    const Unchanged before(at.target);
    for (int round = 0; round < 20; round++) CHECK_CODE(load(at.target, bytes, 1), "POOL_LIMIT_REACHED");
    before.check();
    at.target.compare();
    at.target.compare_rows();
    at.target.clear();
    CHECK_EQUAL(at.target.cache.stats().resident_bytes, at.target.own_bytes());
    CHECK_CODE(load(at.target, at.bytes), "");
}

// However often states come and go, nothing piles up.
static void check_many_loads() {
    Damaged at(Format::k4v4);
    for (int round = 0; round < 3; round++) CHECK_CODE(load(at.target, at.bytes), "");
    const size_t resident = at.target.cache.stats().resident_bytes;
    for (int round = 0; round < 300; round++) CHECK_CODE(load(at.target, at.bytes), "");
    CHECK_EQUAL(at.target.cache.stats().resident_bytes, resident);
    for (uint64_t other = 0; other < 300; other++) {  // of contexts whose keys had other means
        CacheModel source(small_options(Format::k4v4), *select_kernels(), 100 + other);
        source.add(0, 70);
        CHECK_CODE(load(at.target, save(source, {0}), 1), "");
        if (!check::clean()) break;
    }
}

int main(int argc, char** argv) {
    check::begin(argc, argv);
    std::printf("# kernel %s\n", select_kernels()->name);
    const uint64_t seed = check::state().seed;
    for (const Format format : kTierFormats) {
        const std::string name = format_info(format).name;
        for (int window : {16, 64})
            for (int sinks : {0, 4})
                check::run("state: round trip, " + name + ", window " + std::to_string(window) + ", sinks " + std::to_string(sinks),
                           [&] { check_round_trip(make_options(format, window, sinks), seed); });
        check::run("state: cut short at every length, " + name, [&] { check_cut_short(format); });
        check::run("state: forged, " + name, [&] { check_forged(format, seed); });
        check::run("state: every byte flipped, " + name, [&] { check_flips(format); });
    }
    check::run("state: of another model, format, version or size", check_refused);
    check::run("state: of another origin, or a damaged one", check_origins);
    for (const Format format : {Format::f16, Format::k4v4})
        check::run(std::string("state: of version 5, ") + format_info(format).name, [&] { check_version_5(format); });
    check::run("state: of other tiers", check_other_formats);
    check::run("state: larger than the pool", check_pool_limit);
    check::run("state: hundreds of loads", check_many_loads);
    return check::finish();
}
