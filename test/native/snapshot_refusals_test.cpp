// Snapshots that are refused: with parts that are wrong, mixed or forged, of another origin, or of an unknown version.
#include <map>

#include "next_outputs.h"
#include "stored_snapshot.h"

using namespace deltastore;

static void check_refused() {
    CacheOptions options = make_options(Format::k4v4);
    CacheModel model(options, *select_kernels(), 11);
    model.add(0, 400);
    const Stored stored(model, 0);
    model.add(1, 90);
    const auto pages = model.cache.stats().pages;
    const auto changed = [&](auto change) {
        Stored other = stored;
        change(other);
        const std::string code = restore(model, 1, other, true);
        CHECK_EQUAL(model.cache.stats().pages, pages);
        model.compare();
        return code;
    };
    using S = Stored&;
    CHECK_CODE(changed([](S s) { s.blocks.pop_back(); }), "STATE_DAMAGED");
    CHECK_CODE(changed([](S s) { std::swap(s.blocks[1], s.blocks[2]); }), "STATE_DAMAGED");
    CHECK_CODE(changed([](S s) { s.blocks[1] = s.tail; }), "STATE_FOREIGN");
    CHECK_CODE(changed([](S s) { s.tail = s.head; }), "STATE_FOREIGN");
    CHECK_CODE(changed([](S s) { s.head[4]++; }), "STATE_FOREIGN");
    CHECK_CODE(changed([](S s) { s.head[8]++; }), "STATE_DAMAGED");
    CHECK_CODE(changed([](S s) { s.blocks[0][8]++; }), "STATE_MODEL_MISMATCH");
    CHECK_CODE(changed([](S s) { s.centres[0][1]++; }), "STATE_DAMAGED");
    CHECK_CODE(changed([](S s) { s.centres.clear(); }), "STATE_DAMAGED");
    CHECK_CODE(changed([](S s) { s.tail.push_back(0); }), "STATE_DAMAGED");
    CHECK_CODE(changed([](S s) { s.tail.resize(s.tail.size() / 2); }), "STATE_DAMAGED");
    CHECK_CODE(changed([](S s) { s.blocks[3].clear(); }), "STATE_DAMAGED");
    CHECK_CODE(restore(model, 1, stored, true, -1, 399), "STATE_TOO_LARGE");
    CacheModel exact(make_options(Format::f16), *select_kernels(), 11);
    CHECK_CODE(restore(exact, 0, stored, true), "");  // not rotated here, so any tier's rows can be read
    options.pool_limit = 60 << 10;
    CacheModel small(options, *select_kernels(), 11);
    for (int round = 0; round < 5; round++) {
        CHECK_CODE(restore(small, 0, stored, true), "POOL_LIMIT_REACHED");
        CHECK_EQUAL(small.cache.stats().pages, size_t(0));
    }
}

static void check_origins() {
    CacheModel model(make_options(Format::k4v4), *select_kernels(), 11);
    model.add(0, 400);
    const Stored stored(model, 0);
    model.add(1, 90);
    const auto pages = model.cache.stats().pages;
    for (const OtherOrigin& other : other_origins()) {
        std::string message;
        CHECK_CODE(restore(model, 1, stored, true, -1, 1 << 20, -1, nullptr, {other.origin}, &message), "STATE_MODEL_MISMATCH");
        if (message != "The state was made with " + other.words) check::fail(__FILE__, __LINE__, message);
        CHECK_EQUAL(model.cache.stats().pages, pages);
        // The same rows are other blocks, so that no store takes one for the other.
        const Stored others(model, 0, other.origin);
        for (size_t i = 0; i < stored.blocks.size(); i++) CHECK(others.blocks[i] != stored.blocks[i]);
        Stored mixed = stored;
        mixed.blocks[1] = others.blocks[1];
        CHECK_CODE(restore(model, 1, mixed, true), "STATE_MODEL_MISMATCH");
    }
    for (size_t bit = 0; bit < 8 * kOriginBytes; bit++) {
        Stored damaged = stored;
        damaged.head[kOriginBegin + bit / 8] ^= uint8_t(1 << bit % 8);
        CHECK_CODE(restore(model, 1, damaged, true), "STATE_DAMAGED");
    }
    model.compare();
    CHECK_CODE(restore(model, 1, stored, true, 400), "");
}

static Stored as_version_1(Stored stored) {
    const uint64_t fingerprint = kOrigin.positions.fingerprint(kFingerprint);
    stored.head = with_fingerprint(stored.head, kSnapshotWithFingerprint, fingerprint);
    stored.tail[4] = uint8_t(kSnapshotWithFingerprint);
    for (Bytes& block : stored.blocks) {
        block[4] = uint8_t(kSnapshotWithFingerprint);
        std::memcpy(block.data() + 8, &fingerprint, sizeof fingerprint);
    }
    return stored;
}

static void check_version_1(Format format) {
    CacheModel model(make_options(format), *select_kernels(), 11);
    model.add(0, 400);
    const Stored stored(model, 0), old = as_version_1(stored);
    for (const bool with_tail : {true, false}) {
        CacheModel one(make_options(format), *select_kernels(), 11), other(make_options(format), *select_kernels(), 11);
        CHECK_CODE(restore(one, 0, stored, with_tail), "");
        CHECK_CODE(restore(other, 0, old, with_tail), "");
        CHECK(Stored(one, 0) == Stored(other, 0));
    }
    const auto refusal = [&](const Stored& stored, const Own& own) { return restore(model, 1, stored, true, -1, 1 << 20, -1, nullptr, own); };
    CHECK_CODE(refusal(old, {kOrigin, kFingerprint + 1}), "STATE_MODEL_MISMATCH");
    for (const OtherOrigin& other : other_origins())  // it has only positions to be told by
        CHECK_CODE(refusal(old, {other.origin}), other.positions ? "STATE_MODEL_MISMATCH" : "");
    CHECK_CODE(refusal(stored, {kOrigin, kFingerprint + 1}), "");
    for (const bool is_old : {true, false}) {
        const Stored &base = is_old ? old : stored, &others = is_old ? stored : old;
        Stored block = base, tail = base, head = base;
        block.blocks[1] = others.blocks[1];
        tail.tail = others.tail;
        head.head = others.head;
        for (const Stored& mixed : {block, tail, head}) CHECK_CODE(refusal(mixed, {}), "STATE_DAMAGED");
    }
    Stored unknown = old;
    unknown.head[4] = 0;
    CHECK_CODE(refusal(unknown, {}), "STATE_FOREIGN");
}

// Forged bytes give an error, or rows of some value. They never reach memory outside the page.
static void check_forged(Format format, uint64_t seed) {
    CacheOptions options = make_options(format);
    options.layers = {{1, 1, {64, 64}}};
    CacheModel model(options, *select_kernels(), seed);
    model.add(0, 160);
    const Stored stored(model, 0);
    Random random(seed);
    std::map<std::string, int> codes;
    for (int round = 0; round < 1500 && check::clean(); round++) {
        Stored forged = stored;
        std::vector<Bytes*> parts = {&forged.head, &forged.tail};
        for (Bytes& block : forged.blocks) parts.push_back(&block);
        Bytes& part = *parts[random.between(0, int(parts.size()) - 1)];
        const int most = random.chance(0.7) ? std::min<int>(64, int(part.size())) : int(part.size());
        part[random.between(0, most - 1)] = uint8_t(random.next());
        CacheModel target(options, *select_kernels(), 1);
        const std::string code = restore(target, 0, forged, random.chance(0.7), -1, 10000);
        codes[code]++;
        if (!code.empty()) {
            CHECK_EQUAL(target.cache.stats().pages, size_t(0));
        } else {
            go_on_anyhow(target.cache, 0, random);
            target.cache.clear();
        }
    }
    for (const auto& [code, count] : codes) std::printf("# %s: %d\n", code.empty() ? "restored" : code.c_str(), count);
    CHECK_AT_LEAST(codes[""], 50);
    CHECK_AT_LEAST(codes["STATE_DAMAGED"], 50);
}

int main(int argc, char** argv) {
    check::begin(argc, argv);
    std::printf("# kernel %s\n", select_kernels()->name);
    check::run("snapshot: wrong parts are refused and change nothing", check_refused);
    check::run("snapshot: another origin, or a damaged one, is refused", check_origins);
    for (const Format format : {Format::f16, Format::k4v4})
        check::run(std::string("snapshot: version 1 is read, and not mixed with version 2, ") + format_info(format).name, [&] { check_version_1(format); });
    for (const Format format : {Format::f16, Format::k4v4, Format::k4v2r6})
        check::run(std::string("snapshot: forged bytes are refused or give rows of some value, ") + format_info(format).name,
                   [&] { check_forged(format, check::state().seed); });
    return check::finish();
}
