// PagePool by random operations against a map of what is live.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <iterator>
#include <map>
#include <set>
#include <vector>

#include "pages/host_place.h"
#include "pages/page_pool.h"
#include "check.h"
#include "random.h"

using namespace deltastore;

struct LivePage {
    size_t bytes;
    uint32_t references;
    uint64_t tag;
};

// Pages start and end with words that nobody else writes.
static uint64_t word_of(uint64_t tag, int index) { return (tag + index) * 0x9e3779b97f4a7c15ull; }
static void fill(uint8_t* page, const LivePage& live) {
    std::memset(page, 0, live.bytes);
    for (int i = 0; i < 4; i++) {
        const uint64_t word = word_of(live.tag, i);
        std::memcpy(page + 8 * i, &word, 8);
        std::memcpy(page + live.bytes - 8 * (i + 1), &word, 8);
    }
}
static bool intact(const uint8_t* page, const LivePage& live) {
    for (int i = 0; i < 4; i++) {
        const uint64_t word = word_of(live.tag, i);
        if (std::memcmp(page + 8 * i, &word, 8) != 0 || std::memcmp(page + live.bytes - 8 * (i + 1), &word, 8) != 0) return false;
    }
    return true;
}

class PoolModel {
public:
    PoolModel(size_t limit, Random& random) : pool_(place_, limit), random_(random) {}

    bool allocate(size_t bytes) {
        const Page page = pool_.allocate(bytes);
        if (page == kNoPage) {
            CHECK(pool_.refusal() == Failure::pool_limit);
            return false;
        }
        CHECK_EQUAL(reinterpret_cast<uintptr_t>(place_.at(page)) % 64, uintptr_t(0));
        const auto after = live_.lower_bound(page);
        if (after != live_.end()) check_apart(page, bytes, after->first);
        if (after != live_.begin()) check_apart(std::prev(after)->first, std::prev(after)->second.bytes, page);
        const LivePage& live = live_[page] = {bytes, 1, random_.next()};
        fill(place_.at(page), live);
        held_ += bytes;
        return true;
    }
    void retain() {
        const auto at = any();
        pool_.retain(at->first);
        at->second.references++;
    }
    void release() {
        const auto at = any();
        CHECK(intact(place_.at(at->first), at->second));
        CHECK_EQUAL(pool_.references(at->first), at->second.references);
        pool_.release(at->first);
        if (--at->second.references > 0) return;
        held_ -= at->second.bytes;
        live_.erase(at);
    }
    // A page that has one holder may move; what it holds moves along, and slabs get no more.
    void settle() {
        const auto at = any();
        if (at->second.references != 1) return;
        const size_t before = pool_.resident_bytes();
        const Page moved = pool_.settle(at->first);
        CHECK_AT_MOST(pool_.resident_bytes(), before + 2 * 4096);
        if (moved == at->first) return;
        const LivePage live = at->second;
        live_.erase(at);
        CHECK(live_.emplace(moved, live).second);
        CHECK(intact(place_.at(moved), live));
    }
    // After this, all pages of a size but one slab's are in full slabs.
    void settle_all() {
        for (int round = 0; round < 2; round++)
            for (const auto& [page, live] : std::map<Page, LivePage>(live_)) {
                if (live.references != 1) continue;
                const Page moved = pool_.settle(page);
                if (moved == page) continue;
                live_.erase(page);
                live_.emplace(moved, live);
            }
    }
    void release_all() {
        while (!live_.empty()) release();
    }
    void compare() {
        CHECK_EQUAL(pool_.pages(), live_.size());
        CHECK_AT_LEAST(pool_.resident_bytes(), held_);
        CHECK_AT_LEAST(pool_.peak_bytes(), pool_.resident_bytes());
        if (pool_.limit_bytes() != 0) CHECK_AT_MOST(pool_.peak_bytes(), pool_.limit_bytes());
    }
    void compare_contents() {
        for (const auto& [page, live] : live_) {
            CHECK(intact(place_.at(page), live));
            CHECK_EQUAL(pool_.references(page), live.references);
        }
    }
    // Compares what the pool reports with what the system keeps in memory for the slabs; returns the latter.
    size_t compare_residence() const {
        std::set<uint32_t> slabs;
        for (const auto& [page, live] : live_) slabs.insert(Place::slab_of(page));
        const size_t unit = size_t(sysconf(_SC_PAGESIZE));
        std::vector<unsigned char> present(PagePool::kSlabBytes / unit);
        size_t bytes = 0;
        for (uint32_t slab : slabs) {
            CHECK_EQUAL(mincore(place_.at(Place::page_at(slab, 0)), PagePool::kSlabBytes, present.data()), 0);
            for (unsigned char one : present) bytes += one & 1 ? unit : 0;
        }
        CHECK_EQUAL(bytes + pool_.header_bytes(), pool_.resident_bytes());
        return bytes;
    }
    bool empty() const { return live_.empty(); }
    size_t held() const { return held_; }
    const PagePool& pool() const { return pool_; }

private:
    // Pages of a slab do not overlap.
    void check_apart(Page first, size_t bytes, Page second) const {
        if (Place::slab_of(first) == Place::slab_of(second)) CHECK_AT_MOST(Place::offset_of(first) + bytes, Place::offset_of(second));
    }
    std::map<Page, LivePage>::iterator any() { return std::next(live_.begin(), random_.between(0, int(live_.size()) - 1)); }

    HostPlace place_{kScalarKernels};
    PagePool pool_;
    Random& random_;
    std::map<Page, LivePage> live_;
    size_t held_ = 0;
};

// Sizes as they occur: pages of 64 rows of several formats and head sizes, sinks; and the largest.
static const size_t kSizes[] = {256, 1024, 4352, 8704, 16384, 32768, 139264, 348160, PagePool::max_page_bytes()};
static size_t any_size(Random& random) {
    return kSizes[random.chance(0.9) ? random.between(0, 5) : random.between(6, 8)];
}

static void check_operations(size_t limit, int steps, Random& random) {
    PoolModel model(limit, random);
    double release_chance = 0.4;
    for (int step = 0; step < steps && check::clean(); step++) {
        if (step % 500 == 0) release_chance = random.chance(0.5) ? 0.35 : 0.6;  // grows for a while, then shrinks
        const double kind = random.uniform();
        if (model.empty() || kind > release_chance + 0.1) model.allocate(any_size(random));
        else if (kind > release_chance + 0.05) model.settle();
        else if (kind > release_chance) model.retain();
        else model.release();
        model.compare();
        if (step % 200 == 0) model.compare_contents();
        if (step % 1500 == 1499) model.release_all();
    }
    model.compare_contents();
    model.release_all();
    CHECK_EQUAL(model.pool().resident_bytes(), size_t(0));
    CHECK_EQUAL(model.pool().pages(), size_t(0));
}

// What `fits` promises, `allocate` gives, in any order; what it refuses would not have fit.
static void check_promises(Random& random) {
    int kept = 0, refused = 0;
    for (int round = 0; round < 400 && check::clean(); round++) {
        const size_t limit = size_t(random.between(100, 6000)) * 1024;
        PoolModel model(limit, random);
        for (int i = random.between(0, 400); i > 0; i--) {  // a pool with holes
            if (model.empty() || random.chance(0.65)) model.allocate(random.chance(0.5) ? 4352 : any_size(random));
            else model.release();
        }
        PagePool::Demand demand;
        std::vector<size_t> wanted;
        size_t bytes = 0;
        for (int i = random.between(1, 12); i > 0; i--) {  // sizes may come more than once, as from Cache::fits
            const size_t size = any_size(random), most = std::max<size_t>(1, (limit - model.pool().resident_bytes()) / size / 2);
            const size_t count = size_t(random.between(1, int(std::min<size_t>(most, 300))));
            demand.emplace_back(size, count);
            wanted.insert(wanted.end(), count, size);
            bytes += size * count;
        }
        for (size_t i = wanted.size(); i > 1; i--) std::swap(wanted[i - 1], wanted[random.between(0, int(i) - 1)]);
        const bool promised = model.pool().fits(demand);
        bool all = true;
        for (size_t size : wanted) all = all && model.allocate(size);
        model.compare_contents();
        CHECK_EQUAL(promised, all);
        (promised ? kept : refused)++;
        model.release_all();
        CHECK_EQUAL(model.pool().resident_bytes(), size_t(0));
    }
    std::printf("# %d promises kept, %d refusals\n", kept, refused);
    CHECK_AT_LEAST(kept, 50);
    CHECK_AT_LEAST(refused, 50);
}

// Pages that are left over take few slabs once they have settled.
static void check_settling(Random& random) {
    PoolModel model(0, random);
    for (int i = 0; i < 3000; i++) model.allocate(4352);
    for (int i = 0; i < 2100; i++) model.release();
    CHECK_AT_LEAST(model.pool().resident_bytes(), 2 * model.held());
    model.settle_all();
    model.compare_contents();
    CHECK_AT_MOST(model.pool().resident_bytes(), model.held() * 1.02 + PagePool::kSlabBytes);
    model.release_all();
    CHECK_EQUAL(model.pool().resident_bytes(), size_t(0));
}

// A page never moves by itself, and its slab goes back to the system with its last page, whatever else is in the pool.
static void check_growth_and_return(Random& random) {
    PoolModel model(0, random);
    for (int i = 0; i < 1000; i++) model.allocate(16384);
    const size_t full = model.pool().resident_bytes();
    CHECK_AT_MOST(full, size_t(1000 * 16384 * 1.02) + PagePool::kSlabBytes / 4);
    HostPlace place(kScalarKernels);
    PagePool small(place, 64 * 1024);
    CHECK(small.allocate(PagePool::max_page_bytes()) == kNoPage);
    CHECK(small.refusal() == Failure::pool_limit);
    CHECK_EQUAL(small.resident_bytes(), size_t(0));
    CHECK(small.fits({{16384, 2}}));
    CHECK(!small.fits({{16384, 4}}));
    PagePool larger(place, 64 * 1024 + small.missing_bytes()), nearly(place, 64 * 1024 + small.missing_bytes() - 1);
    CHECK(larger.fits({{16384, 4}}));
    CHECK(!nearly.fits({{16384, 4}}));
    model.release_all();
    CHECK_EQUAL(model.pool().resident_bytes(), size_t(0));
    CHECK_EQUAL(model.pool().peak_bytes(), full);
}

// residentBytes is no estimate: it is what the system holds for the slabs, while pages come and go.
static void check_residence(Random& random) {
    PoolModel model(0, random);
    size_t most = 0;
    for (int step = 0; step < 6000 && check::clean(); step++) {
        if (model.empty() || random.chance(step < 4000 ? 0.7 : 0.3)) model.allocate(any_size(random));
        else model.release();
        if (step % 250 == 0) most = std::max(most, model.compare_residence());
    }
    CHECK_AT_LEAST(most, size_t(20) << 20);
}

int main(int argc, char** argv) {
    check::begin(argc, argv);
    Random random(check::state().seed);
    check::run("pool: pages keep their bytes under random operations, without a limit", [&] { check_operations(0, 20000, random); });
    check::run("pool: pages keep their bytes under random operations, within 3 MB", [&] { check_operations(3 << 20, 10000, random); });
    check::run("pool: pages keep their bytes under random operations, within 300 KB", [&] { check_operations(300 << 10, 10000, random); });
    check::run("pool: allocate gives what fits promises", [&] { check_promises(random); });
    check::run("pool: pages that settle take few slabs", [&] { check_settling(random); });
    check::run("pool: grows by what is used and gives all back", [&] { check_growth_and_return(random); });
    check::run("pool: resident bytes are what the system holds", [&] { check_residence(random); });
    return check::finish();
}
