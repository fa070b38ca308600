// Time of the attention kernels on one thread, for every kernel and format: nanoseconds a row of one KV head. Queries are those of one
// decoded token (a group's query heads), or a block of a prompt's. Pages don't fit the second-level cache, as those of a long context don't.
//
//   attend_bench [KEY_AND_VALUE_DIM [QUERY_HEADS_PER_KV_HEAD]]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "kernels/codec.h"
#include "attention/plan.h"

using namespace deltastore;

static constexpr int kPages = 2048;
static constexpr int kRounds = 7;

template <typename T>
struct Aligned {
    explicit Aligned(size_t count) : memory(static_cast<uint8_t*>(std::aligned_alloc(64, (count * sizeof(T) + 63) / 64 * 64))) {
        std::memset(memory.get(), 0, count * sizeof(T));
    }
    T* get() { return reinterpret_cast<T*>(memory.get()); }
    struct Free {
        void operator()(uint8_t* memory) const { std::free(memory); }
    };
    std::unique_ptr<uint8_t[], Free> memory;
};

int main(int argc, char** argv) {
    const int dim = argc > 1 ? std::atoi(argv[1]) : 64, heads = argc > 2 ? std::atoi(argv[2]) : 3;
    const HeadShape shape{dim, dim};
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    const auto gaussian = [&](size_t count, float scale) {
        std::vector<float> values(count);
        for (float& value : values) value = scale * normal(random);
        return values;
    };
    const Kernels* found[4];
    const int kernels = available_kernels(found);
    for (int k = 0; k < kernels; k++) {
        const Kernels& kernel = *found[k];
        for (int f = 0; f < kFormatCount; f++) {
            const Format format = Format(f);
            const PageLayout layout = page_layout(format, shape, kPageRows);
            Aligned<uint8_t> pages(size_t(kPages) * layout.bytes);
            const std::vector<float> rows = gaussian(size_t(kPageRows) * dim, 1.0f), centre(dim, 0.0f);
            write_keys(kernel, pages.get(), layout, format, shape, centre.data(), 0, kPageRows, rows.data());
            write_values(kernel, pages.get(), layout, format, shape, 0, kPageRows, rows.data());
            for (int p = 1; p < kPages; p++) std::memcpy(pages.get() + p * layout.bytes, pages.get(), layout.bytes);
            for (int count : {heads, kBlockQueries / heads * heads}) {
                std::vector<float> query = gaussian(size_t(count) * dim, 0.3f), maxima(count, -__builtin_inff()), sums(count, 0.0f);
                std::vector<float> centre_scores(count), slopes(count), output(size_t(count) * dim);
                std::vector<int32_t> positions(count, INT32_MAX / 2), code_sums(count * shape.key_groups());
                std::vector<float> code_scales(count * shape.key_groups());
                Aligned<int8_t> codes(size_t(count) * dim);
                kernel.quantize_queries(query.data(), count, dim, codes.get(), code_scales.data(), code_sums.data());
                Aligned<uint8_t> scratch(attention_scratch_bytes(shape));
                QueryBlock block;
                block.count = count;
                block.query = query.data();
                block.codes = codes.get();
                block.code_scales = code_scales.data();
                block.code_sums = code_sums.data();
                block.centre_scores = centre_scores.data();
                block.positions = positions.data();
                block.slopes = slopes.data();
                block.maxima = maxima.data();
                block.sums = sums.data();
                block.output = output.data();
                const bool packed = format_info(format).packed;
                const int measured = kernel.name == std::string("scalar") || count > heads ? kPages / 16 : kPages;
                double best = 1e30;
                for (int round = 0; round < kRounds; round++) {
                    const auto start = std::chrono::steady_clock::now();
                    for (int p = 0; p < measured; p++) {
                        const PageRows page{pages.get() + p * layout.bytes, &layout, shape, format, kPageRows, 0, kPageRows, p * kPageRows};
                        (packed ? kernel.attend_coded : kernel.attend_half)(page, block, scratch.get());
                    }
                    const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
                    best = std::min(best, time.count() / (double(measured) * kPageRows));
                }
                std::printf("%-7s %-5s dim %d, %2d queries: %7.2f ns a row, %6.2f a row and query\n", kernel.name, format_info(format).name, dim,
                            count, best, best / count);
            }
        }
    }
}
