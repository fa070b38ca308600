// A restored snapshot: the sequence goes on as before, equal rows are held once, and the pool's limit holds.
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

// The next outputs are the same bits, and so are the rows that are packed and evicted later.
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

// The place up to which rows were evicted may lie in a hole that is closed, or at either end of it.
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

// Sums of one kind of queries are left out where the tier watches another kind.
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

// The sequence gets the tier that is named, and the sums of the queries that this tier watches. On failure it keeps its own.
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

// Rows keep their format where no tier has it, and eviction moves them into pages with gaps of that format.
static void check_foreign_format() {
    CacheModel source(make_options(Format::k4v2r14, false), *select_kernels(), 29);
    source.add(0, 300);
    CacheOptions options = make_options(Format::k4v4, true);
    CacheModel model(options, *select_kernels(), 29);
    CHECK_CODE(restore(model, 0, Stored(source, 0), true), "");
    take_over(model, 0, source, 0);
    const size_t before = model.cache.stats().pages;
    CHECK(model.cache.evict(0, {0.5, schedule_by_name("uniform"), scorer_by_name("recency"), 64}));
    int gapped = 0;
    for (const PageRef& reference : model.cache.table().table(0, 0)) {
        if (!reference.gapped()) continue;
        gapped++;
        CHECK(reference.format == Format::k4v2r14);
    }
    CHECK_AT_LEAST(gapped, 1);
    CHECK_AT_MOST(model.cache.stats().pages, before);
    CHECK_EQUAL(model.cache.stats().sequences[0].tokens, 300);
}

// A restore that fails leaves nothing behind, however often, and one that succeeds stays within the limit.
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

// Rows that the cache holds already take no further page, not even for a while.
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

int main(int argc, char** argv) {
    check::begin(argc, argv);
    std::printf("# kernel %s\n", select_kernels()->name);
    const uint64_t seed = check::state().seed;
    for (const Format format : {Format::f16, Format::k4v4, Format::k4v2r6})
        for (const bool evicts : {false, true}) {
            const std::string with = std::string(format_info(format).name) + (evicts ? ", evicting" : "");
            check::run("restore: gives back what was saved between random operations, " + with, [&] { check_random(format, evicts, seed); });
            check::run("restore: the sequence goes on bit for bit, " + with, [&] { check_goes_on(format, evicts, seed); });
            check::run("restore: without the tail, all but the last rows come back, " + with, [&] { check_without_tail(format, evicts); });
        }
    check::run("restore: a closed hole where rows were evicted comes back", check_closed_hole);
    check::run("restore: sums of queries that the tier does not watch are left out", check_other_watch);
    check::run("restore: the sequence gets the named tier, and keeps its own on failure", check_tier);
    check::run("restore: rows of a format that no tier has can be evicted", check_foreign_format);
    check::run("restore: stays within the pool's limit, and failures leave nothing", check_limit);
    check::run("restore: equal pages are shared", check_shared);
    for (const Format format : {Format::f16, Format::k4v4})
        check::run(std::string("restore: equal pages are shared at the limit, ") + format_info(format).name, [&] { check_shared_at_limit(format); });
    return check::finish();
}
