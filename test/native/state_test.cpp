// Saved states come back as they were: into this cache and others, of any tier, within the pool's limit, however often.
#include "next_outputs.h"
#include "saved_state.h"

using namespace deltastore;

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

// However often states are loaded, nothing piles up.
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
    for (const Format format : kTierFormats)
        for (int window : {16, 64})
            for (int sinks : {0, 4})
                check::run(std::string("state: comes back as it was saved, ") + format_info(format).name + ", window " + std::to_string(window) + ", sinks " +
                               std::to_string(sinks),
                           [&] { check_round_trip(make_options(format, window, sinks), seed); });
    check::run("state: rows of other tiers stay in their format", check_other_formats);
    check::run("state: one larger than the pool's limit is refused and changes nothing", check_pool_limit);
    check::run("state: hundreds of loads leave nothing behind", check_many_loads);
    return check::finish();
}
