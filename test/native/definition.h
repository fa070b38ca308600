// Softmax attention over one row set in double precision: what the engine's attention is measured against.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

namespace deltastore {

struct DefinedRow {
    const float* key;
    const float* value;
    int32_t position;
};

struct DefinedAttention {
    double maximum = -std::numeric_limits<double>::infinity();
    double sum = 0;                  // of exp(score - maximum)
    std::vector<double> output;      // weighted mean of the values; 0 if no row is visible
    std::vector<double> magnitude;   // weighted mean of their absolute values
    std::vector<double> weights;     // [row], sum 1 without a sink; 0 for rows that are not visible
};

// `query` is scaled already. `sink_score` is a logit that takes weight and has no value; -infinity for none. Rows
// before `first_seen` are hidden.
inline DefinedAttention define_attention(const std::vector<DefinedRow>& rows, const float* query, int key_dim, int value_dim, int32_t position,
                                         double slope, double soft_cap, double sink_score = -std::numeric_limits<double>::infinity(),
                                         int32_t first_seen = 0) {
    DefinedAttention result;
    result.output.assign(value_dim, 0);
    result.magnitude.assign(value_dim, 0);
    result.weights.assign(rows.size(), 0);
    std::vector<double> scores(rows.size(), -std::numeric_limits<double>::infinity());
    for (size_t r = 0; r < rows.size(); r++) {
        if (rows[r].position > position || rows[r].position < first_seen) continue;
        double score = 0;
        for (int d = 0; d < key_dim; d++) score += double(query[d]) * rows[r].key[d];
        if (soft_cap != 0) score = soft_cap * std::tanh(score / soft_cap);
        scores[r] = score - slope * (position - rows[r].position);
        result.maximum = std::max(result.maximum, scores[r]);
    }
    if (!(result.maximum > -std::numeric_limits<double>::infinity())) return result;
    for (double score : scores) result.sum += std::exp(score - result.maximum);
    const double total = result.sum + std::exp(sink_score - result.maximum);
    for (size_t r = 0; r < rows.size(); r++) {
        const double weight = result.weights[r] = std::exp(scores[r] - result.maximum) / total;
        if (weight == 0) continue;
        for (int d = 0; d < value_dim; d++) {
            result.output[d] += weight * rows[r].value[d];
            result.magnitude[d] += weight * std::abs(double(rows[r].value[d]));
        }
    }
    return result;
}

}  // namespace deltastore
