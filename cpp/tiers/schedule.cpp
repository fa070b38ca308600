#include "schedule.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace deltastore {

static int within(double kept, const BudgetTable& table) {
    return int(std::min(std::max(std::lround(kept) - table.fixed, 0l), long(table.count)));
}

// `share(layer)` of the tokens.
template <typename Share>
static std::vector<int> budgets_by_layer(const BudgetRequest& request, const Share& share) {
    std::vector<int> kept;
    for (const BudgetTable& table : request.tables) kept.push_back(within(share(table.layer) * request.tokens, table));
    return kept;
}

std::vector<int> uniform_budgets(const BudgetRequest& request) {
    return budgets_by_layer(request, [&](int) { return request.keep; });
}

double preserve_early_share(int layer, int layers, double base) {
    constexpr double kEarly = 0.2, kStart = 0.7;
    const double first = kEarly * layers;
    if (layer < first) return 1.0;
    const double last = layers - 1, begin = std::ceil(first);
    const double progress = last > begin ? (layer - begin) / (last - begin) : 1.0;
    return kStart - (kStart - base) * progress;
}

std::vector<int> preserve_early_budgets(const BudgetRequest& request) {
    return budgets_by_layer(request, [&](int layer) { return preserve_early_share(layer, request.layers, request.keep); });
}

// exp(entropy) of the scores over their number: 1 if all are equal, near 0 if one has everything.
static double evenness(const BudgetTable& table) {
    double sum = 0, weighted = 0;
    int finite = 0;
    for (int i = 0; i < table.count; i++) {
        const double score = table.scores[i];
        if (!std::isfinite(score)) continue;
        finite++;
        sum += score;
        if (score > 0) weighted += score * std::log(score);
    }
    return sum > 0 ? std::exp(std::log(sum) - weighted / sum) / finite : 1.0;
}

std::vector<int> adaptive_budgets(const BudgetRequest& request) {
    std::vector<double> weights(request.layers), tables(request.layers);
    for (const BudgetTable& table : request.tables) {
        weights[table.layer] += evenness(table);
        tables[table.layer]++;
    }
    double mean = 0, layers = 0;
    for (int layer = 0; layer < request.layers; layer++) {
        if (tables[layer] == 0) continue;
        const double share = preserve_early_share(layer, request.layers, request.keep);
        weights[layer] *= share / tables[layer];
        mean += share;
        layers++;
    }
    if (layers == 0) return {};
    mean /= layers;
    // The factor that brings the mean back, now that no layer can keep more than all.
    double low = 0, high = 1e6;
    for (int step = 0; step < 60; step++) {
        const double factor = (low + high) / 2;
        double sum = 0;
        for (int layer = 0; layer < request.layers; layer++)
            if (tables[layer] > 0) sum += std::min(1.0, factor * weights[layer]);
        (sum < mean * layers ? low : high) = factor;
    }
    return budgets_by_layer(request, [&](int layer) { return std::min(1.0, high * weights[layer]); });
}

std::vector<int> shared_budgets(const BudgetRequest& request) {
    std::vector<double> scales;
    std::vector<float> all;
    double wanted = 0;
    for (const BudgetTable& table : request.tables) {
        double sum = 0;
        for (int i = 0; i < table.count; i++)
            if (std::isfinite(table.scores[i])) sum += table.scores[i];
        scales.push_back(sum > 0 ? 1 / sum : 1);
        for (int i = 0; i < table.count; i++) all.push_back(float(table.scores[i] * scales.back()));
        wanted += request.keep * request.tokens - table.fixed;
    }
    const size_t budget = size_t(std::min(std::max(wanted, 0.0), double(all.size())));
    if (budget == all.size()) {
        std::vector<int> kept;
        for (const BudgetTable& table : request.tables) kept.push_back(table.count);
        return kept;
    }
    std::nth_element(all.begin(), all.begin() + budget, all.end(), [](float a, float b) { return a > b; });
    const float least = all[budget];  // the best that does not stay
    std::vector<int> kept;
    size_t rest = budget;
    for (size_t t = 0; t < request.tables.size(); t++) {
        const BudgetTable& table = request.tables[t];
        kept.push_back(int(std::count_if(table.scores, table.scores + table.count, [&](float s) { return float(s * scales[t]) > least; })));
        rest -= kept.back();
    }
    for (size_t t = 0; t < request.tables.size() && rest > 0; t++) {  // equal ones, in the order of tables
        const BudgetTable& table = request.tables[t];
        const auto equal = std::count_if(table.scores, table.scores + table.count, [&](float s) { return float(s * scales[t]) == least; });
        const size_t more = std::min(size_t(equal), rest);
        kept[t] += int(more);
        rest -= more;
    }
    return kept;
}

std::vector<int> retrieval_budgets(const BudgetRequest& request) {
    constexpr double kHeads = 0.27, kMost = 0.8;  // of the tables, and of the budget at most
    const size_t tables = request.tables.size();
    std::vector<int> order(tables);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return request.tables[a].retrieval > request.tables[b].retrieval; });
    size_t whole = size_t(std::min(std::lround(kHeads * tables), long(kMost * request.keep * tables)));
    while (whole > 0 && request.tables[order[whole - 1]].retrieval <= 0) whole--;
    const double rest = whole < tables ? (request.keep * tables - whole) / (tables - whole) : 1.0;
    std::vector<int> kept(tables);
    for (size_t i = 0; i < tables; i++) {
        const BudgetTable& table = request.tables[order[i]];
        kept[order[i]] = i < whole ? table.count : within(rest * request.tokens, table);
    }
    return kept;
}

const Schedule* schedule_by_name(const char* name) {
    static constexpr Schedule kSchedules[] = {{"uniform", uniform_budgets},
                                              {"preserveEarly", preserve_early_budgets},
                                              {"adaptive", adaptive_budgets},
                                              {"shared", shared_budgets},
                                              {"retrieval", retrieval_budgets}};
    for (const Schedule& schedule : kSchedules)
        if (std::strcmp(schedule.name, name) == 0) return &schedule;
    return nullptr;
}

}  // namespace deltastore
