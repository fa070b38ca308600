// What a snapshot holds stays as it is, and only what is new goes into new blocks.
#include "stored_snapshot.h"

using namespace deltastore;

// A turn adds only what is new: the blocks before it are the same bytes.
static void check_delta(Format format) {
    const bool packs = format != Format::f16;
    CacheModel model(make_options(format), *select_kernels(), 3);
    size_t row_bytes = 0;
    for (const LayerShape& layer : model.cache.options().layers) row_bytes += layer.kv_heads * (layer.head.key_dim + layer.head.stored_value_dim()) * sizeof(uint16_t);
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

// A snapshot keeps its bytes, whatever happens to the sequence. Once it is gone, nothing is held.
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

// A page that was not full when a snapshot held it stays so, and rows behind it still go into blocks.
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

int main(int argc, char** argv) {
    check::begin(argc, argv);
    std::printf("# kernel %s\n", select_kernels()->name);
    for (const Format format : {Format::f16, Format::k4v4, Format::k4v2r6}) {
        const std::string name = format_info(format).name;
        for (const bool evicts : {false, true})
            check::run("snapshot: keeps its bytes while the sequence changes, " + name + (evicts ? ", evicting" : ""), [&] { check_held(format, evicts); });
        check::run("snapshot: a turn adds only blocks of its own, " + name, [&] { check_delta(format); });
    }
    check::run("snapshot: keeps its bytes under random operations", [&] { check_held_at_random(check::state().seed); });
    check::run("snapshot: rows behind a page that is not full go into blocks", check_partial_page);
    return check::finish();
}
