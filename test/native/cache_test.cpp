// Cache and SequenceTable by random operations against lists of tokens.
#include "cache_operations.h"

using namespace deltastore;

// Two heads, one head of other sizes, a layer without attention, and one whose values are its keys.
static CacheOptions make_options(Format format, int window, int sinks, size_t limit) {
    CacheOptions options;
    options.layers = {{4, 2, {64, 64}}, {0, 0, {64, 64}}, {2, 1, {112, 80}}, {1, 1, {64, 64, /*latent*/ true}}};
    options.format = format;
    options.window_format = window_format_of(format);
    options.window = window;
    options.sinks = sinks;
    options.pool_limit = limit;
    options.max_sequences = 4;
    return options;
}

static CacheOptions evicting(CacheOptions options, const char* scorer) {
    options.eviction = Eviction{0.5, schedule_by_name("uniform"), scorer_by_name(scorer), 100};
    return options;
}

// Under sanitizers an operation takes several times as long.
#ifdef __SANITIZE_ADDRESS__
static constexpr int kLongRun = 2500;
#else
static constexpr int kLongRun = 10000;
#endif

static void check_operations(const CacheOptions& options, int steps, uint64_t seed) {
    Random random(seed);
    CacheModel model(options, *select_kernels(), seed);
    for (int step = 0; step < steps && check::clean(); step++) {
        operate(model, random);
        model.compare();
        for (int s = 0; s < options.max_sequences; s++)
            if (model.sequences[s].size() > 1500) model.erase(s, 0, INT32_MAX);
        if (step % 8 == 7) model.compare_rows();
    }
    if (!check::clean()) return;
    model.compare_rows();
    if (options.format == Format::f16 || options.window > 0) CHECK_AT_LEAST(model.exact_rows, size_t(1));
    if (options.format != Format::f16) CHECK_AT_LEAST(model.packed_rows, size_t(1));
    model.clear();
    CHECK_EQUAL(model.cache.stats().pages, size_t(0));
    CHECK_EQUAL(model.cache.stats().resident_bytes, model.own_bytes());
    if (options.others.empty()) CHECK_AT_MOST(model.mean_error(), 1.1);
    std::printf("# %zu exact rows, %zu packed rows: error %.2f times the expected, worst %.2f times\n", model.exact_rows,
                model.packed_rows, model.mean_error(), model.worst_error);
}

// After each ubatch of an uninterrupted sequence: the sinks and the newest `window` rows are exact, whole pages before them are packed.
static void check_window(const CacheOptions& options, uint64_t seed) {
    Random random(seed);
    CacheModel model(options, *select_kernels(), seed);
    for (int round = 0; round < 25 && check::clean(); round++) {
        CHECK(model.add(0, random.chance(0.3) ? random.between(1, 5) : random.between(1, 150)) == Failure::none);
        const int32_t end = model.next_position(0);
        for (int index = 0; index < model.cache.table().tables(); index++) {
            const PageTable& references = model.cache.table().table(0, index);
            int exact_room = 0;
            for (size_t i = 0; i < references.size(); i++) {
                const PageRef& reference = references[i];
                const bool packed = format_info(reference.format).packed;
                const bool sink = options.format != Format::f16 && reference.position < options.sinks, open = i + 1 == references.size() && reference.end_row() < reference.rows;
                if (packed) CHECK_AT_MOST(reference.end_position(), end - options.window);
                if (packed) CHECK(!sink);
                if (sink) CHECK_AT_MOST(reference.end_position(), options.sinks);
                if (!packed && !sink && !open && options.format != Format::f16 && end >= options.sinks + kPageRows + options.window)
                    CHECK_AT_LEAST(reference.end_position(), end - options.window + 1);
                if (options.window > 0 && packed && i + 1 < references.size() && format_info(references[i + 1].format).packed) CHECK_EQUAL(reference.end_row(), reference.rows);
                if (!packed && !sink) exact_room += reference.rows;
            }
            if (options.format != Format::f16 && end >= options.sinks + kPageRows + options.window)
                CHECK_AT_MOST(exact_room, options.window + 2 * kWindowPageRows);
        }
    }
    model.compare();
    model.compare_rows();
}

// A fork shares its pages: it costs only the open page.
static void check_fork_shares() {
    CacheModel model(make_options(Format::k4v4, 16, 4, 0), *select_kernels(), 1);
    CHECK(model.add(0, 700) == Failure::none);
    const size_t before = model.cache.stats().pages;
    CHECK(model.fork(0, 1, 0, INT32_MAX) == Failure::none);
    CHECK_AT_MOST(model.cache.stats().pages, before + model.cache.table().tables());
    CHECK(model.add(0, 10) == Failure::none);
    CHECK(model.add(1, 90) == Failure::none);
    model.compare();
    model.compare_rows();
    model.erase(0, 0, INT32_MAX);
    model.compare();
    model.compare_rows();
}

// What is admitted can be reserved.
static void check_admission(uint64_t seed) {
    Random random(seed);
    int admitted_rounds = 0;
    for (int round = 0; round < 60 && check::clean(); round++) {
        CacheModel model(make_options(round % 2 ? Format::k4v2 : Format::k4v4, 16, 4, size_t(random.between(300, 1500)) << 10), *select_kernels(), seed);
        for (int i = random.between(0, 4); i > 0; i--) model.add(random.between(0, 3), random.between(1, 200));
        model.cache.begin_admission();
        std::vector<Token> tokens;
        for (int s = 0; s < 4; s++) {
            const int count = random.between(1, 200);
            const auto before = model.tables();
            if (!model.cache.admit(s, model.next_position(s), count)) continue;
            CHECK(model.same_tables(before));
            for (int i = 0; i < count; i++) tokens.push_back({s, model.next_position(s) + i});
        }
        if (tokens.empty()) continue;
        admitted_rounds++;
        CHECK(model.reserve({tokens}) == Failure::none);
        model.write(0, 1);
        model.finish(0);
        model.compare();
    }
    CHECK_AT_LEAST(admitted_rounds, 20);
}

static CacheOptions sliding(CacheOptions options, int32_t tokens) {
    options.sliding_window.tokens = tokens;
    return options;
}

// Caches that share a limit: what both admitted both can reserve, what one refused is forgotten by the other, and together they stay within it.
static void check_shared_limit(uint64_t seed) {
    Random random(seed);
    int admitted_rounds = 0, refused = 0;
    for (int round = 0; round < 60 && check::clean(); round++) {
        const size_t limit = size_t(random.between(600, 2500)) << 10;
        CacheModel all(make_options(Format::k4v4, 16, 4, limit), *select_kernels(), seed);
        CacheModel window(sliding(make_options(Format::k4v2, 16, 4, limit), 100), *select_kernels(), seed, all.cache.budget());
        for (int i = 0; i < 4; i++) {
            std::vector<Token> tokens;
            for (CacheModel* model : {&all, &window}) model->cache.begin_admission();
            for (int s = 0; s < 4; s++) {
                const int count = random.between(1, 200);
                const int32_t position = all.next_position(s);
                CHECK_EQUAL(window.next_position(s), position);
                if (!all.cache.admit(s, position, count)) continue;
                if (!window.cache.admit(s, position, count)) {
                    all.cache.withdraw();
                    refused++;
                    continue;
                }
                for (int t = 0; t < count; t++) tokens.push_back({s, position + t});
            }
            if (tokens.empty()) continue;
            admitted_rounds++;
            for (CacheModel* model : {&all, &window}) {
                CHECK(model->reserve({tokens}) == Failure::none);
                if (!check::clean()) return;
            }
            for (CacheModel* model : {&all, &window}) {
                model->write(0, 1);
                model->finish(0);
                model->compare();
            }
            CHECK_AT_MOST(all.cache.stats().resident_bytes + window.cache.stats().resident_bytes, limit);
        }
        CHECK_AT_MOST(all.cache.stats().resident_bytes + window.cache.stats().resident_bytes, all.cache.charged_bytes());
    }
    CHECK_AT_LEAST(admitted_rounds, 100);
    CHECK_AT_LEAST(refused, 10);
}

// A long sequence holds its window and some rows behind it, whole pages of them, and no more.
static void check_unseen_rows_go(uint64_t seed) {
    const CacheOptions options = sliding(make_options(Format::k4v4, 16, 4, 0), 100);
    CacheModel model(options, *select_kernels(), seed);
    Random random(seed);
    for (int round = 0; round < 40 && check::clean(); round++) {
        CHECK(model.add(0, random.between(1, 150)) == Failure::none);
        const int32_t end = model.next_position(0), first = model.cache.first_position(0);
        if (first > 0) CHECK_EQUAL((first - 4) % kPageRows, 0);
        CHECK_AT_MOST(first, std::max(0, end - 99 - SlidingWindow::kWayBack));
        CHECK_AT_LEAST(first, end - 99 - SlidingWindow::kWayBack - kPageRows - 3);
        const PageTable& references = model.cache.table().table(0, 0);
        CHECK_EQUAL(references.front().begin, 0);
        CHECK(model.cache.table().has_all_rows(0));
        CHECK_AT_MOST(size_t(model.cache.table().tokens(0)), options.sliding_window.most_kept(SIZE_MAX));
    }
    model.compare_rows();
}

// An idle sequence's window may be packed early: it gets smaller, others don't take its end for a window as it should be, and it goes on.
static void check_resting(uint64_t seed) {
    CacheModel model(make_options(Format::k4v2, 64, 4, 0), *select_kernels(), seed);
    CHECK(model.add(0, 300) == Failure::none);
    CHECK_EQUAL(model.cache.prefix_end(0, 300), 300);
    CHECK(model.fork(0, 1, 0, INT32_MAX) == Failure::none);
    const size_t whole = model.page_bytes(0);
    model.repack(0, 16);
    CHECK_EQUAL(model.page_bytes(0), whole);  // what another one holds stays
    model.erase(1, 0, INT32_MAX);
    model.repack(0, 16);
    CHECK_AT_MOST(model.page_bytes(0) + 32 * 64 * 2 * model.cache.table().tables(), whole);  // at least 32 rows of halves are codes
    for (int table = 0; table < model.cache.table().tables(); table++)
        for (const PageRef& reference : model.cache.table().table(0, table))
            if (!reference.pinned()) CHECK_EQUAL(format_info(reference.format).packed, reference.position < 300 - 16);
    for (int table = 0; table < model.cache.table().tables(); table++) CHECK_EQUAL(int(model.cache.table().table(0, table).back().count), 16);
    CHECK_EQUAL(model.cache.prefix_end(0, 300), (300 - 64 - 4) / 64 * 64 + 4);
    CHECK(model.add(0, 100) == Failure::none);
    CHECK_EQUAL(model.cache.prefix_end(0, 400), 400);
    model.compare();
    model.compare_rows();
}

// Sequences of all kinds of tiers, which change.
static CacheOptions mixed_tiers(size_t limit) {
    CacheOptions options = make_options(Format::k4v4, 16, 4, limit);
    const auto add = [&](Format format, int window, const char* scorer) {
        Tier tier = evicting(make_options(format, window, 4, 0), scorer ? scorer : "recency");
        if (scorer == nullptr) tier.eviction.reset();
        options.others.push_back(tier);
    };
    add(Format::f16, 16, nullptr);
    add(Format::k4v2r6, 32, nullptr);
    add(Format::k4v2, 16, "attention");
    add(Format::k3v2, 0, "recency");
    add(Format::k3v2r14, 64, "snapkv");
    add(Format::f16, 16, "h2o");
    return options;
}

int main(int argc, char** argv) {
    check::begin(argc, argv);
    uint64_t seed = check::state().seed;
    std::printf("# kernel %s\n", select_kernels()->name);
    for (const Format format : kTierFormats)
        for (int window : {0, 16, 64})
            for (int sinks : {0, 4}) {
                if (window == 0 && format_info(format).refined > 0) continue;
                const std::string name = std::string(format_info(format).name) + ", window " + std::to_string(window) + ", sinks " +
                                         std::to_string(sinks);
                seed += 10;
                check::run("cache: holds what the model does after random operations, " + name, [&] { check_operations(make_options(format, window, sinks, 0), 60, seed); });
                check::run("cache: holds what the model does within a limit, " + name,
                           [&] { check_operations(make_options(format, window, sinks, 500 << 10), 60, seed + 1); });
                for (const char* scorer : {"attention", "recency"}) {
                    check::run("cache: holds what the model does with eviction by " + std::string(scorer) + ", " + name,
                               [&] { check_operations(evicting(make_options(format, window, sinks, 0), scorer), 90, seed + 2); });
                    check::run("cache: holds what the model does with eviction within a limit, by " + std::string(scorer) + ", " + name,
                               [&] { check_operations(evicting(make_options(format, window, sinks, 500 << 10), scorer), 60, seed + 3); });
                }
                check::run("cache: sinks and window are exact, and whole pages before them are packed, " + name, [&] { check_window(make_options(format, window, sinks, 0), seed); });
            }
    for (const Format format : {Format::f16, Format::k4v4, Format::k4v2r6}) {
        const std::string name = format_info(format).name;
        check::run("cache: holds what the model does with sliding windows, " + name,
                   [&] { check_operations(sliding(make_options(format, 16, 4, 0), 150), 200, seed + 7); });
    }
    check::run("cache: holds what the model does with sliding windows within a limit",
               [&] { check_operations(sliding(make_options(Format::k4v2, 16, 4, 500 << 10), 150), 200, seed + 8); });
    check::run("cache: rows that no later token sees are given back", [&] { check_unseen_rows_go(seed); });
    check::run("cache: caches that share a limit admit and reserve within it", [&] { check_shared_limit(seed); });
    check::run("cache: holds what the model does while tiers change", [&] { check_operations(mixed_tiers(0), kLongRun, seed + 5); });
    check::run("cache: holds what the model does while tiers change within a limit", [&] { check_operations(mixed_tiers(700 << 10), kLongRun * 3 / 10, seed + 6); });
    check::run("cache: a window that is packed early gets smaller, and the sequence goes on", [&] { check_resting(seed); });
    check::run("cache: a fork costs no more than its open page", check_fork_shares);
    check::run("cache: what is admitted can be reserved", [&] { check_admission(seed); });
    return check::finish();
}
