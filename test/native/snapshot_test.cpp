// Snapshots: what they hold stays as it is and comes back, only what is new is new, equal rows are held once, and no part can be mistaken.
#include <map>

#include "next_outputs.h"
#include "stored_snapshot.h"

using namespace deltastore;

static void take_over(CacheModel& model, int sequence, const CacheModel& source, int its) {
    model.sequences[sequence] = source.sequences[its];
    model.extents[sequence] = source.extents[its];
}

// Random operations on two caches' sequences; whatever was saved on the way comes back, here and elsewhere.
static void check_random(Format format, bool evicts, uint64_t seed) {
    const CacheOptions options = make_options(format, evicts);
    Random random(seed);
    CacheModel model(options, *select_kernels(), seed), elsewhere(options, *select_kernels(), seed);
    struct Saved {
        Stored stored;
        std::vector<ModelToken> tokens;
        ModelExtent extent;
        int tier;
    };
    std::vector<Saved> saved;
    int restored = 0;
    for (int step = 0; step < 400 && check::clean(); step++) {
        const int sequence = random.between(0, 2), other = random.between(0, 2);
        const double kind = random.between(0, 99);
        if (kind < 40) {
            if (model.next_position(sequence) < 1500) next_outputs(model, sequence, Random(step));  // so that rows are watched
            if (model.next_position(sequence) < 1500) model.add(sequence, random.between(1, 150));
        } else if (kind < 47) {
            const int32_t end = model.next_position(sequence);
            if (!model.extents[sequence].evicted && end > 0) model.erase(sequence, random.between(0, end), INT32_MAX);
        } else if (kind < 52) {
            model.fork(sequence, other, 0, INT32_MAX);
        } else if (kind < 58 && evicts) {
            if (model.cache.tier(sequence).eviction) model.evict(sequence, *options.eviction, true);
        } else if (kind < 62) {
            model.change_tier(sequence, random.between(0, 1), random.chance(0.5));
        } else if (kind < 80) {
            if (model.sequences[sequence].empty()) continue;
            const int tier = &model.cache.tier(sequence) == &model.cache.options() ? 0 : 1;
            saved.push_back({Stored(model, sequence), model.sequences[sequence], model.extents[sequence], tier});
        } else if (!saved.empty()) {
            const Saved& one = saved[random.between(0, int(saved.size()) - 1)];
            CacheModel& where = random.chance(0.5) ? model : elsewhere;
            where.cache.set_tier(sequence, one.tier);
            CHECK_CODE(restore(where, sequence, one.stored, true), "");
            where.sequences[sequence] = one.tokens;
            where.extents[sequence] = one.extent;
            CHECK(Stored(where, sequence).blocks == one.stored.blocks);
            CHECK(Stored(where, sequence).tail == one.stored.tail);
            restored++;
        }
        model.compare();
        elsewhere.compare();
    }
    model.compare_rows();
    elsewhere.compare_rows();
    CHECK_AT_LEAST(restored, 20);
    for (CacheModel* each : {&model, &elsewhere}) {
        each->clear();
        CHECK_EQUAL(each->cache.stats().pages, size_t(0));
    }
}

// The next outputs are the same bits, and so is what becomes of the rows later.
static void check_goes_on(Format format, bool evicts, uint64_t seed) {
    const CacheOptions options = make_options(format, evicts);
    CacheModel model(options, *select_kernels(), seed), fresh(options, *select_kernels(), seed);
    model.add(0, 300);
    next_outputs(model, 0, Random(1));
    if (evicts) model.evict(0, *options.eviction, true);
    next_outputs(model, 0, Random(2));
    const Stored stored(model, 0);
    CHECK_CODE(restore(fresh, 1, stored, true, 340), "");
    take_over(fresh, 1, model, 0);
    fresh.next_id = model.next_id;
    for (int round = 0; round < 8; round++) {
        CHECK(next_outputs(model, 0, Random(3 + round)) == next_outputs(fresh, 1, Random(3 + round)));
        if (evicts && round == 5) {
            model.evict(0, *options.eviction, true);
            fresh.evict(1, *options.eviction, true);
        }
    }
    CHECK(Stored(model, 0).blocks == Stored(fresh, 1).blocks);
    CHECK(Stored(model, 0).tail == Stored(fresh, 1).tail);
}

// What a turn adds is what is new: blocks before it are the same bytes.
static void check_delta(Format format) {
    const bool packs = format != Format::f16;
    CacheModel model(make_options(format), *select_kernels(), 3);
    size_t row_bytes = 0;
    for (const LayerShape& layer : model.cache.options().layers) row_bytes += layer.kv_heads * (layer.head.key_dim + layer.head.value_dim) * sizeof(uint16_t);
    model.add(0, 500);
    Stored before(model, 0);
    for (int turn = 0; turn < 10; turn++) {
        model.add(0, 50);
        const Stored after(model, 0);
        CHECK_AT_LEAST(after.blocks.size(), before.blocks.size());
        CHECK_AT_MOST(after.blocks.size(), before.blocks.size() + (packs ? 1 : 4));
        for (size_t i = 0; i < before.blocks.size(); i++) CHECK(after.blocks[i] == before.blocks[i]);
        size_t added = after.tail.size();
        for (size_t i = before.blocks.size(); i < after.blocks.size(); i++) added += after.blocks[i].size();
        // 50 rows, those that were in the tail before, and heads.
        if (!packs) CHECK_AT_MOST(added, (50 + kPartRows - 1) * row_bytes + 1000);
        before = after;
    }
    // Of two that begin alike, the beginning's are the same.
    model.fork(0, 1, 0, 400);
    model.add(1, 200);
    const Stored other(model, 1);
    int same = 0;
    for (const Bytes& block : other.blocks)
        for (const Bytes& its : before.blocks) same += block == its;
    CHECK_AT_LEAST(same, (400 - 24 - 4) / 64 + 1);
}

// What a snapshot holds stays, whatever happens to the sequence; and nothing is held afterwards.
static void check_held(Format format, bool evicts) {
    const CacheOptions options = make_options(format, evicts);
    CacheModel model(options, *select_kernels(), 5);
    model.add(0, 400);
    {
        const Snapshot snapshot(std::shared_ptr<Cache>(&model.cache, [](Cache*) {}), kOrigin, 0);
        const Stored before(snapshot);
        model.add(0, 100);
        if (evicts) model.evict(0, *options.eviction, true);
        model.change_tier(0, 1, true);
        CHECK(before == Stored(snapshot));
        if (!evicts) {
            model.shift(0, 100, INT32_MAX, 7);
            CHECK(model.apply_shifts() == Failure::none);
        }
        CHECK(before == Stored(snapshot));
        model.erase(0, 0, INT32_MAX);
        model.add(0, 450);
        CHECK(before == Stored(snapshot));
        model.compare_rows();
    }
    model.clear();
    CHECK_EQUAL(model.cache.stats().pages, size_t(0));
}

// The same under random operations, with tiers that keep rows as they come among them.
static void check_held_at_random(uint64_t seed) {
    CacheOptions options = make_options(Format::k4v4);
    Tier exact = options.others[0];
    exact.name = "exact";
    exact.format = exact.window_format = Format::f16;
    options.others.push_back(exact);
    Random random(seed);
    for (int round = 0; round < 1500 && check::clean(); round++) {
        CacheModel model(options, *select_kernels(), seed + round);
        model.add(0, random.between(1, 100));
        model.cache.set_tier(0, random.between(0, 2));
        if (random.chance(0.5)) model.add(0, random.between(1, 100));
        const Snapshot snapshot(std::shared_ptr<Cache>(&model.cache, [](Cache*) {}), kOrigin, 0);
        const Stored before(snapshot);
        for (int step = 0; step < 12; step++) {
            const int end = model.next_position(0);
            switch (random.between(0, 4)) {
                case 0: model.add(0, random.between(1, 40)); break;
                case 1: model.erase(0, std::max(0, end - random.between(1, 10)), INT32_MAX); break;
                case 2: model.change_tier(0, random.between(0, 2), random.chance(0.3)); break;
                case 3: model.repack(0, random.chance(0.5) ? 16 : random.between(0, 16)); break;
                default: model.fork(0, 1, 0, random.between(0, end + 1));
            }
            CHECK(before == Stored(snapshot));
        }
        model.compare_rows();
    }
}

// A page that was not full when others held it stays so, and what comes behind it goes into blocks all the same.
static void check_partial_page() {
    CacheModel model(make_options(Format::f16), *select_kernels(), 13);
    model.add(0, 300);
    {
        const Snapshot snapshot(std::shared_ptr<Cache>(&model.cache, [](Cache*) {}), kOrigin, 0);
        model.erase(0, 190, INT32_MAX);
        model.add(0, 100);
    }
    model.add(0, 1000);
    CHECK_AT_LEAST(Stored(model, 0).blocks.size(), size_t(1290 / 64));
}

// Where rows were last evicted lies in a hole that is closed, or at either end of it.
static void check_closed_hole() {
    const CacheOptions options = make_options(Format::k4v4, true);
    for (const int32_t to : {390, 400, 410}) {
        CacheModel model(options, *select_kernels(), 19), fresh(options, *select_kernels(), 19);
        model.add(0, 400);
        model.evict(0, *options.eviction, true);
        model.add(0, 20);
        model.erase(0, 300, to);
        model.shift(0, to, INT32_MAX, 300 - to);
        CHECK(model.apply_shifts() == Failure::none);
        CHECK_CODE(restore(fresh, 0, Stored(model, 0), true, 720 - to), "");
    }
}

// Sums of one kind of queries are nothing to a tier that watches another.
static void check_other_watch() {
    CacheOptions options = make_options(Format::k4v2, true);
    CacheModel model(options, *select_kernels(), 17);
    model.add(0, 100);
    next_outputs(model, 0, Random(1));
    const Stored stored(model, 0);
    for (const char* scorer : {"attention", "snapkv"}) {
        options.eviction->scorer = scorer_by_name(scorer);
        CacheModel other(options, *select_kernels(), 17);
        CHECK_CODE(restore(other, 0, stored, true), "");
        const bool same = std::string(scorer) == "attention";
        CHECK_EQUAL(other.cache.watch(0)->end() > other.cache.watch(0)->begin(), same);
        other.sequences[0] = model.sequences[0];
        other.evict(0, *options.eviction, true);
    }
}

// The sequence has the tier that it is restored to, and the sums of the queries that this one watches; on failure it keeps its own.
static void check_tier() {
    CacheOptions options = make_options(Format::k4v2, true);
    CacheModel model(options, *select_kernels(), 23);
    model.add(0, 100);
    next_outputs(model, 0, Random(1));
    Stored stored(model, 0);
    model.cache.set_tier(1, 1);
    CHECK(model.cache.watch(1) == nullptr);
    CHECK_CODE(restore(model, 1, stored, true, -1, 50, 0), "STATE_TOO_LARGE");
    CHECK(&model.cache.tier(1) == &model.cache.tiers().at(1));
    CHECK_CODE(restore(model, 1, stored, true, -1, 1 << 20, 0), "");
    CHECK(&model.cache.tier(1) == &model.cache.tiers().at(0));
    CHECK_AT_LEAST(model.cache.watch(1)->end(), model.cache.watch(1)->begin() + 1);
    CHECK(Stored(model, 1).tail == stored.tail);
}

// What fails leaves nothing behind, however often, and what succeeds stays within the limit.
static void check_limit() {
    CacheOptions options = make_options(Format::k4v4, true);
    options.pool_limit = 330 << 10;
    CacheModel model(options, *select_kernels(), 19);
    model.add(0, 100);
    const int centres = model.cache.centres().count();
    for (int round = 0; round < 300; round++) {
        CacheModel source(make_options(Format::k4v4, true), *select_kernels(), 100 + round);
        source.add(0, 300);
        Stored stored(source, 0);
        stored.tail.pop_back();
        CHECK_CODE(restore(model, 1, stored, true), "STATE_DAMAGED");
    }
    CHECK_EQUAL(model.cache.centres().count(), centres);
    int restored = 0, refused = 0;
    for (int tokens = 100; tokens < 1500; tokens += 20) {
        CacheModel source(make_options(Format::k4v4, true), *select_kernels(), 19);
        source.add(0, tokens);
        (restore(model, 1, Stored(source, 0), true).empty() ? restored : refused)++;
        CHECK_AT_MOST(model.cache.resident_bytes(), options.pool_limit);
        model.cache.erase(1, 0, INT32_MAX);
    }
    CHECK_AT_LEAST(restored, 3);
    CHECK_AT_LEAST(refused, 3);
}

static void check_without_tail(Format format, bool evicts) {
    const CacheOptions options = make_options(format, evicts);
    CacheModel model(options, *select_kernels(), 7);
    model.add(0, 330);
    if (evicts) model.evict(0, *options.eviction, true);
    model.add(0, 70);
    const Stored stored(model, 0);
    CHECK_CODE(restore(model, 1, stored, false), "");
    const int32_t end = model.cache.last_position(1) + 1;
    const bool packs = format != Format::f16;
    CHECK_AT_LEAST(end, 400 - (packs ? 24 + 2 * 64 : evicts ? 64 : 15));
    CHECK_AT_MOST(end, 400 - (packs ? 24 : 0));
    take_over(model, 1, model, 0);
    model.sequences[1].resize(end);
    if (evicts) model.extents[1].end = end;
    model.compare();
    model.add(1, 400 - end);
    model.compare();
    model.compare_rows();
}

static void check_shared() {
    CacheModel model(make_options(Format::k4v4), *select_kernels(), 9);
    model.add(0, 600);
    const Stored stored(model, 0);
    const size_t pages = model.cache.stats().pages;
    CHECK_CODE(restore(model, 1, stored, true, 600), "");
    take_over(model, 1, model, 0);
    CHECK_AT_MOST(model.cache.stats().pages, pages + 4 * model.cache.table().tables());  // the window's, and one that is not full yet
    model.add(0, 200);
    model.add(1, 100);
    model.erase(0, 0, INT32_MAX);
    model.compare();
    model.compare_rows();
}

// What is there already takes no page, not even for a while.
static void check_shared_at_limit(Format format) {
    CacheModel model(make_options(format), *select_kernels(), 29);
    model.add(0, 644);  // sinks, and full pages
    const Stored stored(model, 0);
    CacheOptions options = make_options(format);
    options.pool_limit = model.cache.resident_bytes() + (format == Format::f16 ? 16 << 10 : 60 << 10);  // references; and a window
    CacheModel full(options, *select_kernels(), 29);
    CHECK_CODE(restore(full, 0, stored, true, 644), "");
    CHECK_CODE(restore(full, 1, stored, true, 644), "");
    CHECK_AT_MOST(full.cache.resident_bytes(), options.pool_limit);
}

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

// Bytes that no honest writer wrote: an error, or rows of some value; never memory that is not the page's.
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
    const uint64_t seed = check::state().seed;
    for (const Format format : {Format::f16, Format::k4v4, Format::k4v2r6}) {
        const std::string name = format_info(format).name;
        for (const bool evicts : {false, true}) {
            const std::string with = name + (evicts ? ", evicting" : "");
            check::run("snapshot: random operations, " + with, [&] { check_random(format, evicts, seed); });
            check::run("snapshot: goes on as if nothing had been, " + with, [&] { check_goes_on(format, evicts, seed); });
            check::run("snapshot: holds what it holds, " + with, [&] { check_held(format, evicts); });
            check::run("snapshot: without its tail, " + with, [&] { check_without_tail(format, evicts); });
        }
        check::run("snapshot: only what is new, " + name, [&] { check_delta(format); });
        check::run("snapshot: forged, " + name, [&] { check_forged(format, seed); });
    }
    check::run("snapshot: holds what it holds, at random", [&] { check_held_at_random(seed); });
    check::run("snapshot: a page that is not full in the middle", check_partial_page);
    check::run("snapshot: a hole where rows were last evicted", check_closed_hole);
    check::run("snapshot: sums of other queries", check_other_watch);
    check::run("snapshot: the tier that it is restored to", check_tier);
    check::run("snapshot: within the limit", check_limit);
    check::run("snapshot: equal pages are shared", check_shared);
    for (const Format format : {Format::f16, Format::k4v4})
        check::run(std::string("snapshot: equal pages are shared at the limit, ") + format_info(format).name, [&] { check_shared_at_limit(format); });
    check::run("snapshot: refused", check_refused);
    check::run("snapshot: of another origin, or a damaged one", check_origins);
    for (const Format format : {Format::f16, Format::k4v4})
        check::run(std::string("snapshot: of version 1, ") + format_info(format).name, [&] { check_version_1(format); });
    return check::finish();
}
