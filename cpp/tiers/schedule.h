// How many rows each layer and KV head may keep. Pure functions.
#pragma once

#include <vector>

namespace deltastore {

// Rows of one layer and KV head.
struct BudgetTable {
    int layer;
    int fixed;           // rows that stay whatever happens: sinks and window
    int count;           // rows that may go
    const float* scores; // of those, not negative; infinite for one that must stay
    float retrieval = 0; // how much the head looks things up, see RetrievalHeads; 0 if that is not known
};

struct BudgetRequest {
    int layers;
    int tokens;   // that the sequence stands for
    double keep;  // 0 to 1
    std::vector<BudgetTable> tables;
};

struct Schedule {
    const char* name;
    // How many of each table's rows that may go stay.
    std::vector<int> (*budgets)(const BudgetRequest& request);
};

// The share `keep` of the tokens in every table.
std::vector<int> uniform_budgets(const BudgetRequest& request);
// The papers' schedule, whose base is `keep`: layers before a fifth of the depth keep all; from there the share falls from 0.7 to the base.
std::vector<int> preserve_early_budgets(const BudgetRequest& request);
// The same mean share, but a layer gets more of it the less its scores are concentrated on few rows.
std::vector<int> adaptive_budgets(const BudgetRequest& request);
// The share `keep` of all tables' rows together, which go where scores are highest; a table's scores are first made to sum to 1
// (after Feng et al. 2024, Ada-KV, arXiv 2407.11550, which does it within a layer).
std::vector<int> shared_budgets(const BudgetRequest& request);
// All rows of the heads that look things up most. The others live on what is near: they get an equal share each. As uniform_budgets() where
// nothing is known of the heads.
std::vector<int> retrieval_budgets(const BudgetRequest& request);

// preserve_early_budgets' share of a layer.
double preserve_early_share(int layer, int layers, double base);

// nullptr if there is none of this name.
const Schedule* schedule_by_name(const char* name);

}  // namespace deltastore
