// Identities tell blocks apart without reading them. None is taken for another, whatever becomes of the pages, and most that stayed are known.
#include <map>

#include "cache_operations.h"
#include "stored_snapshot.h"

using namespace deltastore;

// With a tier among the others that keeps rows as they come.
static CacheOptions with_exact(CacheOptions options) {
    Tier exact;
    exact.name = "exact";
    if (options.format != Format::f16) options.others.push_back(exact);
    return options;
}

static std::string bytes_of(const std::vector<PartIdentity>& identities) {
    return std::string(reinterpret_cast<const char*>(identities.data()), identities.size() * sizeof(PartIdentity));
}

// All blocks that were seen, by their parts' identities.
class Sightings {
public:
    int known = 0, fresh = 0;

    void see(const std::vector<PartIdentity>& identities, const std::vector<Bytes>& blocks, int tables) {
        CHECK_EQUAL(identities.size(), blocks.size() * tables);
        const std::string all = bytes_of(identities);
        const size_t each = tables * sizeof(PartIdentity);
        for (size_t block = 0; block < blocks.size(); block++) {
            const auto [at, is_fresh] = seen_.try_emplace(all.substr(block * each, each), blocks[block]);
            CHECK(at->second == blocks[block]);
            (is_fresh ? fresh : known)++;
        }
    }

private:
    std::map<std::string, Bytes> seen_;
};

// Two caches, whose pages come from slabs of the same process.
static void check_operations(const CacheOptions& options, uint64_t seed) {
    Random random(seed);
    CacheModel model(options, *select_kernels(), seed), other(options, *select_kernels(), seed);
    const int tables = model.cache.table().tables();
    Sightings sightings;
    int restored = 0;
    for (int step = 0; step < 1500 && check::clean(); step++) {
        CacheModel& one = random.chance(0.7) ? model : other;
        operate(one, random);
        for (int sequence = 0; sequence < options.max_sequences; sequence++) {
            if (one.sequences[sequence].size() > 1000) one.erase(sequence, 0, INT32_MAX);
            if (one.sequences[sequence].empty() || one.cache.has_shift(sequence) || random.chance(0.5)) continue;
            const Stored stored(one, sequence);
            sightings.see(stored.identities, stored.blocks, tables);
            if (!random.chance(0.1)) continue;
            CacheModel& where = random.chance(0.5) ? model : other;
            const int target = random.between(0, options.max_sequences - 1), tier = where.cache.tiers().index(one.cache.tier(sequence).name);
            std::vector<PartIdentity> identities;
            const std::vector<ModelToken> tokens = one.sequences[sequence];
            const ModelExtent extent = one.extents[sequence];
            CHECK_CODE(restore(where, target, stored, true, -1, 1 << 20, tier, &identities), "");
            where.sequences[target] = tokens;
            where.extents[target] = extent;
            sightings.see(identities, stored.blocks, tables);
            CHECK(bytes_of(identities) == bytes_of(Stored(where, target).identities));
            restored++;
        }
    }
    std::printf("# %d blocks known, %d not, %d sequences restored\n", sightings.known, sightings.fresh, restored);
    CHECK_AT_LEAST(sightings.known, sightings.fresh);
    CHECK_AT_LEAST(restored, 50);
}

// After a turn all blocks are known but those that got its rows.
static void check_turns(Format format) {
    CacheModel model(make_options(format, false), *select_kernels(), 3);
    const int tables = model.cache.table().tables();
    Sightings sightings;
    model.add(0, 1000);
    const Stored before(model, 0);
    sightings.see(before.identities, before.blocks, tables);
    for (int turn = 0; turn < 10; turn++) {
        sightings.fresh = 0;
        model.add(0, 50);
        const Stored after(model, 0);
        sightings.see(after.identities, after.blocks, tables);
        CHECK_AT_MOST(sightings.fresh, 2 * kPageRows / kPartRows);  // a page's parts are all new to it when it gets rows
    }
    // So are a fork's.
    sightings.fresh = 0;
    model.fork(0, 1, 0, INT32_MAX);
    const Stored forked(model, 1);
    sightings.see(forked.identities, forked.blocks, tables);
    CHECK_AT_MOST(sightings.fresh, kPageRows / kPartRows);
}

// Blocks of another origin are other blocks, though they have the same identities.
static void check_origins() {
    CacheModel model(make_options(Format::k4v4), *select_kernels(), 3);
    model.add(0, 400);
    const Stored stored(model, 0);
    for (const OtherOrigin& other : other_origins()) {
        const Stored others(model, 0, other.origin);
        CHECK(bytes_of(others.identities) == bytes_of(stored.identities));
        for (size_t i = 0; i < stored.blocks.size(); i++) CHECK(others.blocks[i] != stored.blocks[i]);
        CHECK(Stored(model, 0, other.origin) == others);
    }
}

int main(int argc, char** argv) {
    check::begin(argc, argv);
    std::printf("# kernel %s\n", select_kernels()->name);
    const uint64_t seed = check::state().seed;
    for (const Format format : {Format::f16, Format::k4v4, Format::k4v2r6}) {
        const std::string name = format_info(format).name;
        for (const bool evicts : {false, true})
            check::run("identity: no block is taken for another under random operations, " + name + (evicts ? ", evicting" : ""),
                       [&] { check_operations(with_exact(make_options(format, evicts)), seed); });
        check::run("identity: after a turn all blocks but the new ones are known, " + name, [&] { check_turns(format); });
    }
    check::run("identity: blocks of other origins have the same identity", check_origins);
    return check::finish();
}
