// Processor time that the engine takes for a decoded token of one sequence, without a model. Rows are random, shapes are SmolLM2-135M's.
//
//   decode_bench [DEPTH [FORMAT [TOKENS]]]
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "cache.h"

using namespace deltastore;

static double processor_milliseconds() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

int main(int argc, char** argv) {
    const int depth = argc > 1 ? std::atoi(argv[1]) : 8192, measured = argc > 3 ? std::atoi(argv[3]) : 20;
    CacheOptions options;
    if (!format_by_name(argc > 2 ? argv[2] : "k4v2", options.format)) return std::puts("There is no such format"), 2;
    const Kernels* kernels = select_kernels();
    if (kernels == nullptr) return std::puts("This processor doesn't run the kernel that DELTASTORE_KERNEL names"), 2;
    options.layers.assign(30, {9, 3, {64, 64}});
    options.rotate = format_info(options.format).packed;
    Cache cache(options, *kernels);

    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    const int kv = 3 * 64, q = 9 * 64, batch = 512;
    std::vector<float> rows(size_t(batch) * kv), queries(q), output(q);
    for (float& x : rows) x = normal(random);
    for (float& x : queries) x = normal(random);
    const RowsView view{rows.data(), kv * sizeof(float), 64 * sizeof(float)};
    AttentionInput input;
    input.queries = {queries.data(), q * sizeof(float), 64 * sizeof(float)};
    input.output = output.data();
    input.output_token_stride = q * sizeof(float);
    input.output_head_stride = 64 * sizeof(float);
    input.scale = 0.125f;
    input.soft_cap = 0;

    double packing = 0;
    std::vector<double> attention, total;
    for (int at = 0; at < depth + measured;) {
        const int count = at < depth ? std::min(batch, depth - at) : 1;
        std::vector<Token> tokens;
        for (int i = 0; i < count; i++) tokens.push_back({0, at + i});
        const double start = processor_milliseconds();
        if (cache.reserve({tokens}) != Failure::none) return std::puts("No memory"), 1;
        cache.start(0, 1);
        double attended = 0;
        for (int layer = 0; layer < 30; layer++) {
            cache.write_keys(layer, view, 0, 1);
            cache.write_values(layer, view, 0, 1);
            if (at < depth) continue;  // only filling
            const double before = processor_milliseconds();
            cache.attend(layer, input, 0, 1);
            attended += processor_milliseconds() - before;
        }
        const double before_finish = processor_milliseconds();
        cache.finish();
        cache.abandon();
        const double end = processor_milliseconds();
        if (at < depth) packing += end - before_finish;
        else {
            attention.push_back(attended);
            total.push_back(end - start);
        }
        at += count;
    }
    std::sort(attention.begin(), attention.end());
    std::sort(total.begin(), total.end());
    const double median = attention[attention.size() / 2];
    std::printf("%s %s depth %d: attention %.2f ms a token (fastest %.2f), %.2f ns a row of a KV head; all %.2f ms; packing %.2f us a token\n",
                kernels->name, format_info(options.format).name, depth, median, attention[0], median * 1e6 / (double(depth) * 90),
                total[total.size() / 2], depth ? packing * 1e3 / depth : 0.0);
    return 0;
}
