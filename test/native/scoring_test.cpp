// Schedules, scorers and watched sums by themselves: against their definitions, on random requests.
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "tiers/schedule.h"
#include "tiers/scorer.h"
#include "watching/watch.h"
#include "check.h"
#include "random.h"

using namespace deltastore;

static constexpr float kInfinity = std::numeric_limits<float>::infinity();

// ---- schedules

struct Request {
    BudgetRequest request;
    std::vector<std::vector<float>> scores;
};

static Request any_request(Random& random) {
    Request made;
    made.request.layers = random.between(1, 12);
    made.request.tokens = random.between(1, 400);
    made.request.keep = random.chance(0.1) ? 0 : random.chance(0.1) ? 1 : random.uniform();
    for (int layer = 0; layer < made.request.layers; layer++) {
        for (int head = random.between(layer > 0 ? 0 : 1, 3); head > 0; head--) {
            const int fixed = random.between(0, made.request.tokens);
            made.request.tables.push_back({layer, fixed, random.between(0, made.request.tokens - fixed), nullptr});
            made.scores.emplace_back();
            const bool zeros = random.chance(0.1), ties = random.chance(0.2);
            for (int i = 0; i < made.request.tables.back().count; i++)
                made.scores.back().push_back(i < 2 ? kInfinity : zeros ? 0 : ties ? float(random.between(0, 3)) : float(std::exp(2 * random.gaussian())));
        }
    }
    for (size_t t = 0; t < made.scores.size(); t++) made.request.tables[t].scores = made.scores[t].data();
    return made;
}

static void check_within(const BudgetRequest& request, const std::vector<int>& kept) {
    CHECK_EQUAL(kept.size(), request.tables.size());
    for (size_t t = 0; t < kept.size(); t++) {
        CHECK_AT_LEAST(kept[t], 0);
        CHECK_AT_MOST(kept[t], request.tables[t].count);
    }
}

static void check_uniform(Random& random) {
    for (int round = 0; round < 300; round++) {
        const Request made = any_request(random);
        const std::vector<int> kept = uniform_budgets(made.request);
        check_within(made.request, kept);
        for (size_t t = 0; t < kept.size(); t++) {
            const BudgetTable& table = made.request.tables[t];
            const double wanted = made.request.keep * made.request.tokens - table.fixed;
            if (wanted > 0 && wanted < table.count) CHECK_AT_MOST(std::abs(kept[t] - wanted), 0.5);
            else CHECK_EQUAL(kept[t], wanted <= 0 ? 0 : table.count);
        }
    }
}

// The shares that the papers give for 30 layers, and their means for the three tiers.
static void check_preserve_early(Random& random) {
    CHECK_EQUAL(preserve_early_share(0, 30, 0.5), 1.0);
    CHECK_EQUAL(preserve_early_share(5, 30, 0.5), 1.0);
    CHECK_AT_MOST(std::abs(preserve_early_share(6, 30, 0.5) - 0.7), 1e-12);
    CHECK_AT_MOST(std::abs(preserve_early_share(29, 30, 0.5) - 0.5), 1e-12);
    for (const auto& [base, mean] : std::vector<std::pair<double, double>>{{0.5, 0.68}, {0.3, 0.6}, {0.1, 0.52}}) {
        double sum = 0;
        for (int layer = 0; layer < 30; layer++) sum += preserve_early_share(layer, 30, base);
        CHECK_AT_MOST(std::abs(sum / 30 - mean), 1e-9);
    }
    for (int layers = 1; layers < 50; layers++)
        for (int layer = 1; layer < layers; layer++) CHECK_AT_MOST(preserve_early_share(layer, layers, 0.3), preserve_early_share(layer - 1, layers, 0.3));
    for (int round = 0; round < 100; round++) {
        const Request made = any_request(random);
        check_within(made.request, preserve_early_budgets(made.request));
    }
}

static void check_adaptive(Random& random) {
    for (int round = 0; round < 100; round++) {
        const Request made = any_request(random);
        check_within(made.request, adaptive_budgets(made.request));
    }
    // Ten layers whose scores are ever more concentrated, and no fixed rows: the mean is preserveEarly's.
    Request made;
    made.request = {10, 1000, 0.3, {}};
    for (int layer = 0; layer < 10; layer++) {
        made.scores.emplace_back(1000);
        for (int i = 0; i < 1000; i++) made.scores.back()[i] = std::exp(-0.002f * float(layer) * float(i));
        made.request.tables.push_back({layer, 0, 1000, made.scores.back().data()});
    }
    double mean = 0;
    for (int layer = 0; layer < 10; layer++) mean += preserve_early_share(layer, 10, 0.3) / 10;
    const std::vector<int> kept = adaptive_budgets(made.request);
    CHECK_AT_MOST(std::abs(std::accumulate(kept.begin(), kept.end(), 0) / 10000.0 - mean), 0.001);
    for (int layer = 1; layer < 10; layer++) CHECK_AT_MOST(kept[layer], kept[layer - 1]);
    CHECK_AT_MOST(kept[9], 300);
}

// As many rows as wanted in all, and none that is worth less than one that goes.
static void check_shared(Random& random) {
    for (int round = 0; round < 300 && check::clean(); round++) {
        Request made = any_request(random);
        const std::vector<int> kept = shared_budgets(made.request);
        check_within(made.request, kept);
        double wanted = 0, rows = 0, least_kept = kInfinity, best_gone = -1;
        for (size_t t = 0; t < kept.size(); t++) {
            const BudgetTable& table = made.request.tables[t];
            wanted += made.request.keep * made.request.tokens - table.fixed;
            rows += table.count;
            std::vector<float>& scores = made.scores[t];
            double sum = 0;
            for (float score : scores) sum += std::isinf(score) ? 0 : score;
            std::sort(scores.begin(), scores.end(), std::greater<>());
            const auto worth = [&](int i) { return std::isinf(scores[i]) || sum == 0 ? double(scores[i]) : scores[i] / sum; };
            if (kept[t] > 0) least_kept = std::min(least_kept, worth(kept[t] - 1));
            if (kept[t] < table.count) best_gone = std::max(best_gone, worth(kept[t]));
        }
        CHECK_EQUAL(std::accumulate(kept.begin(), kept.end(), 0), int(std::min(std::max(wanted, 0.0), rows)));
        CHECK_AT_LEAST(least_kept * 1.000001, best_gone);
    }
}

// The share in all, whole tables where most is looked up, an equal share for the others; the same as uniform if nothing is known.
static void check_retrieval(Random& random) {
    for (int round = 0; round < 300 && check::clean(); round++) {
        Request made = any_request(random);
        for (BudgetTable& table : made.request.tables) table.retrieval = random.chance(0.3) ? 0 : random.uniform();
        check_within(made.request, retrieval_budgets(made.request));
        for (BudgetTable& table : made.request.tables) table.retrieval = 0;
        CHECK(retrieval_budgets(made.request) == uniform_budgets(made.request));
    }
    for (const double keep : {0.1, 0.3, 0.5, 0.68, 0.9}) {
        Request made;
        made.request = {50, 1000, keep, {}};
        for (int i = 0; i < 100; i++) made.request.tables.push_back({i / 2, 100, 900, nullptr, float(i * 37 % 100) / 100});
        const std::vector<int> kept = retrieval_budgets(made.request);
        int rows = 0, whole = 0, least = 900, rest = -1;
        for (int i = 0; i < 100; i++) {
            rows += kept[i] + 100;
            if (kept[i] == 900) {
                whole++;
                continue;
            }
            if (rest < 0) rest = kept[i];
            CHECK_EQUAL(kept[i], rest);
            least = std::min(least, kept[i]);
        }
        for (int i = 0; i < 100; i++) CHECK((kept[i] == 900) == (made.request.tables[i].retrieval > (99 - whole) / 100.0f + 0.001f));
        CHECK_AT_LEAST(whole, 1);
        CHECK_AT_MOST(whole, 27);
        if (rest > 0) CHECK_AT_MOST(std::abs(rows / 100000.0 - keep), 0.001);
    }
}

// ---- scorers

static std::vector<float> scores_of(const char* name, const std::vector<float>& attention) {
    const size_t count = attention.size();
    std::vector<int32_t> positions(count);
    std::vector<float> queries(count), norms(count), scores(count);
    for (size_t i = 0; i < count; i++) {
        positions[i] = 10 + 3 * int(i);
        queries[i] = float(100 - i);
        norms[i] = float(1 + i % 2);
    }
    scorer_by_name(name)->score({int(count), positions.data(), attention.data(), queries.data(), norms.data()}, scores.data());
    return scores;
}

static void check_scorers() {
    const std::vector<float> attention = {0.5f, 0.0f, 0.25f, 0.0f, 0.0f, 0.0f, 0.0f, 0.125f};
    CHECK(scores_of("attention", attention) == std::vector<float>({0.5f, 0, 0.25f, 0, 0, 0, 0, 0.25f}));
    CHECK(scores_of("h2o", attention) == std::vector<float>({50, 0, 24.5f, 0, 0, 0, 0, 0.125f * 93}));
    CHECK(scores_of("snapkv", attention) == std::vector<float>({0.5f, 0.5f, 0.5f, 0.5f, 0.25f, 0.25f, 0.125f, 0.125f}));
    const std::vector<float> recency = scores_of("recency", attention);
    CHECK(std::is_sorted(recency.begin(), recency.end()));
    for (const char* name : {"attention", "h2o", "snapkv", "recency"}) CHECK(scores_of(name, {}).empty());
    CHECK(scorer_by_name("h2") == nullptr);
    CHECK(schedule_by_name("") == nullptr);
}

// ---- what is watched

static void check_watch(Random& random) {
    Watch watch(2);
    std::map<int32_t, uint32_t> rows;  // position -> sum, of both tables
    int32_t end = 0;
    const auto scale = [&](int32_t new_end) {
        for (auto& [p, sum] : rows) sum = uint32_t(double(sum) * (new_end - p) / (end - p));
    };
    for (int step = 0; step < 3000 && check::clean(); step++) {
        const double kind = random.uniform();
        if (kind < 0.4) {
            if (random.chance(0.05)) end += random.between(1, 5);
            const int32_t begin = end;
            end += random.between(1, 40);
            watch.extend(begin, end);
            if (!rows.empty() && rows.rbegin()->first != begin - 1) rows.clear();  // a hole
            for (int32_t p = begin; p < end; p++) {
                rows[p] = uint32_t(random.next());
                *watch.sum(1, p) = rows[p];
                *watch.sum(0, p) = rows[p];
            }
        } else if (kind < 0.6) {
            const int32_t from = random.between(0, end);
            watch.erase(from, INT32_MAX);
            rows.erase(rows.lower_bound(from), rows.end());
            scale(from);
            end = from;
        } else if (kind < 0.8) {
            const int32_t from = random.between(0, end), drop = std::min(random.between(1, 50), end - from);
            watch.erase(from, from + drop);
            watch.shift(from + drop, INT32_MAX, -drop);
            std::map<int32_t, uint32_t> moved;
            for (const auto& [p, sum] : rows)
                if (p < from || p >= from + drop) moved[p < from ? p : p - drop] = sum;
            rows = moved;
            if (from + drop == end) scale(from);
            end -= drop;
        } else if (kind < 0.9) {
            const int32_t from = random.between(0, end);
            watch.drop_before(from);
            rows.erase(rows.begin(), rows.lower_bound(from));
        } else if (kind < 0.92) {
            watch.restart(5);
            CHECK_EQUAL(watch.queries(), 5);
            for (auto& [p, sum] : rows) sum = 0;
        }
        CHECK_EQUAL(watch.end() - watch.begin(), int32_t(rows.size()));
        if (!rows.empty()) CHECK_EQUAL(watch.begin(), rows.begin()->first);
        for (const auto& [p, sum] : rows) {
            CHECK_EQUAL(*watch.sum(1, p), sum);
            CHECK_EQUAL(*watch.sum(0, p), sum);
        }
    }
}

int main(int argc, char** argv) {
    check::begin(argc, argv);
    Random random(check::state().seed);
    check::run("scoring: uniform gives each table its share", [&] { check_uniform(random); });
    check::run("scoring: preserveEarly gives the shares of the papers", [&] { check_preserve_early(random); });
    check::run("scoring: adaptive gives fewer rows where scores are concentrated", [&] { check_adaptive(random); });
    check::run("scoring: shared keeps the highest rows of all tables", [&] { check_shared(random); });
    check::run("scoring: retrieval gives whole tables where most is looked up", [&] { check_retrieval(random); });
    check::run("scoring: scorers rank rows by their definition", check_scorers);
    check::run("scoring: watched sums are those of a list", [&] { check_watch(random); });
    return check::finish();
}
