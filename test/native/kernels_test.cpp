// The attention kernels: every instruction set against the scalar one, and that against the definition.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "format/codebook.h"
#include "kernels/codec.h"
#include "check.h"
#include "definition.h"
#include "random.h"

using namespace deltastore;

static const HeadShape kShapes[] = {{64, 64}, {128, 128}, {192, 128}, {256, 256}, {80, 80}, {96, 96}, {112, 112}, {72, 72}, {8, 40}, {160, 64},
                                   {192, 128, true}, {576, 512, true}};

// Pages of each kind that there is.
struct PageFormat {
    Format format;
    int rows;
};
static const PageFormat kPageFormats[] = {{Format::f16, kPageRows},     {Format::k4v4, kPageRows},   {Format::k4v2, kPageRows},
                                          {Format::k3v2, kPageRows},    {Format::k8v8, kPageRows},   {Format::k8v8, kWindowPageRows},
                                          {Format::k4v2r6, kPageRows},  {Format::k4v2r14, kPageRows}, {Format::k3v2r6, kPageRows},
                                          {Format::k3v2r14, kPageRows}};

struct AlignedBytes {
    explicit AlignedBytes(size_t count, int fill = 0xff) : bytes(static_cast<uint8_t*>(std::aligned_alloc(64, (count + 63) / 64 * 64))) {
        std::memset(bytes.get(), fill, count);
    }
    struct Free {
        void operator()(uint8_t* memory) const { std::free(memory); }
    };
    std::unique_ptr<uint8_t, Free> bytes;
};

// A page whose rows outside [begin, begin + count) are 0xff: halves and scales that are NaN.
struct TestPage {
    AlignedBytes memory;
    PageLayout layout;
    PageRows rows;
    std::vector<float> keys, values;  // as they read back
};

static TestPage make_page(const PageFormat& kind, const HeadShape& shape, int begin, int count, int32_t position, const float* centre, Random& random) {
    const Format format = kind.format;
    const PageLayout layout = page_layout(format, shape, kind.rows);
    TestPage page{AlignedBytes(layout.bytes), layout, {}, {}, {}};
    const std::vector<float> keys = random.gaussians(size_t(count) * shape.key_dim), values = random.gaussians(size_t(count) * shape.value_dim);
    uint8_t* bytes = page.memory.bytes.get();
    write_keys(kScalarKernels, bytes, layout, format, shape, centre, begin, count, keys.data());
    write_values(kScalarKernels, bytes, layout, format, shape, begin, count, values.data());
    if (const int refined = layout.refined) {
        std::memset(bytes + layout.refined_values, 0, layout.refined_rows + refined - layout.refined_values);
        std::vector<int> chosen;
        for (int r = 0; r < count && int(chosen.size()) < refined; r++)
            if (random.chance(0.3)) chosen.push_back(begin + r);
        refine_rows(kScalarKernels, bytes, layout, format, shape, chosen.data(), int(chosen.size()), values.data(), begin);
    }
    page.keys.resize(keys.size());
    page.values.resize(values.size());
    read_rows(bytes, layout, format, shape, centre, begin, count, page.keys.data(), page.values.data());
    page.rows = {bytes, nullptr, shape, format, kind.rows, begin, count, position};
    if (shape.latent && format_info(format).packed) page.rows.centre = centre;
    return page;
}

// Fills the rows after a position with 0xff too, as if they were reserved and not written yet.
static void spoil_after(TestPage& page, Format format, int32_t position) {
    uint8_t* bytes = page.memory.bytes.get();
    const HeadShape& shape = page.rows.shape;
    for (int r = std::max(0, position + 1 - page.rows.position); r < page.rows.count; r++) {
        const size_t row = page.rows.begin + r;
        if (!format_info(format).coded) {
            std::memset(bytes + page.layout.keys + row * shape.key_dim * 2, 0xff, shape.key_dim * 2);
            std::memset(bytes + page.layout.values + row * shape.stored_value_dim() * 2, 0xff, shape.stored_value_dim() * 2);
            continue;
        }
        for (int g = 0; g < shape.key_groups(); g++) std::memset(bytes + page.layout.key_scales + (g * page.rows.rows + row) * 2, 0xff, 2);
        for (int g = 0; g < shape.value_groups() && !shape.latent; g++) std::memset(bytes + page.layout.value_scales + (g * page.rows.rows + row) * 2, 0xff, 2);
    }
}

// Any codes at all, and the largest or smallest everywhere: what sums of products can come to.
static void spoil_codes(TestPage& page, Random& random) {
    uint8_t* bytes = page.memory.bytes.get();
    const int kind = random.between(0, 2);
    const auto fill = [&](size_t from, size_t to) {
        for (size_t at = from; at < to; at++) bytes[at] = kind == 2 ? uint8_t(random.next()) : kind == 1 ? 0xff : 0;
    };
    fill(page.layout.keys, page.layout.key_scales);
    fill(page.layout.values, page.layout.value_scales);
    fill(page.layout.refined_values, page.layout.refined_scales);
    if (format_info(page.rows.format).values != ValueCoding::linear7) return;
    for (size_t at = page.layout.values; at < page.layout.value_scales; at++)  // of the signed codes that there are
        bytes[at] = uint8_t(std::max(-kLinearValueMax, std::min(kLinearValueMax, int(int8_t(bytes[at])))));
}

// Queries and their running softmax.
struct Queries {
    Queries(const HeadShape& shape, int count, const std::vector<float>& centre, float deviation, bool slopes, float soft_cap, Random& random)
        : shape(shape), count(count), soft_cap(soft_cap), query(random.gaussians(size_t(count) * shape.key_dim, deviation)),
          codes(query.size()), code_scales(count * shape.key_groups()), code_sums(code_scales.size()), centre_scores(count),
          positions(count), first_seen(count, 0), slopes(count, 0.0f) {
        kScalarKernels.quantize_queries(query.data(), count, shape.key_dim, codes.data(), code_scales.data(), code_sums.data());
        for (int i = 0; i < count; i++) {
            if (slopes) this->slopes[i] = float(random.uniform() * 0.2);
            for (int d = 0; d < shape.key_dim; d++) centre_scores[i] += query[size_t(i) * shape.key_dim + d] * centre[d];
        }
        reset();
    }
    void reset() {
        maxima.assign(count, -std::numeric_limits<float>::infinity());
        sums.assign(count, 0.0f);
        output.assign(size_t(count) * shape.value_dim, 0.0f);
    }
    QueryBlock block() {
        QueryBlock block;
        block.count = count;
        block.query = query.data();
        block.codes = codes.data();
        block.code_scales = code_scales.data();
        block.code_sums = code_sums.data();
        block.centre_scores = centre_scores.data();
        block.positions = positions.data();
        if (windowed) block.first_seen = first_seen.data();
        block.slopes = slopes.data();
        block.soft_cap = soft_cap;
        block.maxima = maxima.data();
        block.sums = sums.data();
        block.output = output.data();
        return block;
    }

    HeadShape shape;
    int count;
    float soft_cap;
    std::vector<float> query;
    std::vector<int8_t> codes;
    std::vector<float> code_scales;
    std::vector<int32_t> code_sums;
    std::vector<float> centre_scores;
    std::vector<int32_t> positions, first_seen;
    bool windowed = false;
    std::vector<float> slopes, maxima, sums, output;
};

struct Case {
    std::vector<TestPage> pages;
    std::vector<float> centre;
    std::unique_ptr<Queries> queries;
};

// One to four pages of one sequence, parts of them, and 1 to 20 queries that see none, some or all of the rows, from a first one on or from the
// beginning.
static Case make_case(const PageFormat& kind, const HeadShape& shape, bool slopes, float soft_cap, Random& random) {
    Case made;
    made.centre = format_info(kind.format).packed ? random.gaussians(shape.key_dim, 0.3f) : std::vector<float>(shape.key_dim, 0.0f);
    int32_t position = random.between(0, 1000);
    const int32_t start = position;
    for (int pages = random.between(1, 4); pages > 0; pages--) {
        const int begin = random.chance(0.5) ? 0 : random.between(0, kind.rows - 1);
        const int count = random.chance(0.5) ? kind.rows - begin : random.between(1, kind.rows - begin);
        made.pages.push_back(make_page(kind, shape, begin, count, position, made.centre.data(), random));
        position += count + (random.chance(0.3) ? random.between(1, 50) : 0);
    }
    const float deviation = 1.5f / std::sqrt(float(shape.key_dim));  // scores have deviation 1.5
    made.queries = std::make_unique<Queries>(shape, random.between(1, 20), made.centre, deviation, slopes, soft_cap, random);
    for (int32_t& at : made.queries->positions)
        at = random.chance(0.2) ? position + 10 : random.chance(0.1) ? start - 5 : random.between(start - 1, position);
    made.queries->windowed = random.chance(0.5);
    if (made.queries->windowed)
        for (int32_t& first : made.queries->first_seen) first = random.chance(0.2) ? 0 : random.between(start - 5, position + 5);
    const int32_t last = *std::max_element(made.queries->positions.begin(), made.queries->positions.end());
    for (TestPage& page : made.pages) spoil_after(page, kind.format, last);
    return made;
}

static void attend(const Kernels& kernels, Case& at, bool coded, void* scratch) {
    at.queries->reset();
    for (TestPage& page : at.pages) {
        page.rows.layout = &page.layout;
        (coded ? kernels.attend_coded : kernels.attend_half)(page.rows, at.queries->block(), scratch);
    }
}

static bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

static double norm(const double* x, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++) sum += x[i] * x[i];
    return std::sqrt(sum);
}

// Coded pages: dot products are integers and the rest is the same float operations in the same order, so that all kernels
// give the same bits. F16 pages: the SIMD kernels fuse multiply and add, where the scalar one rounds twice. Scores of magnitude
// below 8 then differ by some 1e-6, weights and sums relatively by as much.
static void check_like_scalar(const Kernels& kernels, const PageFormat& kind, const HeadShape& shape, Random& random) {
    const bool coded = format_info(kind.format).coded;
    AlignedBytes scratch(attention_scratch_bytes(shape));
    for (int round = 0; round < check::rounds(40) && check::clean(); round++) {
        Case at = make_case(kind, shape, round % 3 == 1, round % 4 == 2 ? 3.0f : 0.0f, random);
        if (coded && round % 5 == 4) {
            for (TestPage& page : at.pages) spoil_codes(page, random);
            for (int8_t& code : at.queries->codes) code = int8_t(random.chance(0.9) ? kQueryMax : -kQueryMax);
        }
        attend(kScalarKernels, at, coded, scratch.bytes.get());
        std::vector<float> dots(at.queries->count), expected_dots(at.queries->count);
        kernels.dot_rows(at.queries->query.data(), at.queries->count, shape.key_dim, at.centre.data(), dots.data());
        kScalarKernels.dot_rows(at.queries->query.data(), at.queries->count, shape.key_dim, at.centre.data(), expected_dots.data());
        CHECK(same_bits(dots, expected_dots));
        const std::vector<float> maxima = at.queries->maxima, sums = at.queries->sums, output = at.queries->output;
        std::memset(scratch.bytes.get(), 0xff, attention_scratch_bytes(shape));
        attend(kernels, at, coded, scratch.bytes.get());
        if (coded) {
            CHECK(same_bits(at.queries->maxima, maxima));
            CHECK(same_bits(at.queries->sums, sums));
            CHECK(same_bits(at.queries->output, output));
            continue;
        }
        for (int i = 0; i < at.queries->count; i++) {
            if (sums[i] == 0) {
                CHECK_EQUAL(at.queries->sums[i], 0.0f);
                CHECK_EQUAL(at.queries->maxima[i], maxima[i]);
            } else {
                CHECK_AT_MOST(std::abs(at.queries->maxima[i] - maxima[i]), 1e-5f);
                CHECK_AT_MOST(std::abs(at.queries->sums[i] - sums[i]), 1e-5f * sums[i]);
            }
            std::vector<double> difference(shape.value_dim), expected(shape.value_dim);
            for (int d = 0; d < shape.value_dim; d++) {
                expected[d] = output[size_t(i) * shape.value_dim + d];
                difference[d] = at.queries->output[size_t(i) * shape.value_dim + d] - expected[d];
            }
            CHECK_AT_MOST(norm(difference.data(), shape.value_dim), 1e-5 * norm(expected.data(), shape.value_dim));
        }
    }
}

// The most that 7-bit queries can move a score: half a step an element.
static double score_bound(const Queries& queries, int i, const float* key, const float* centre) {
    double bound = 0;
    for (int d = 0; d < queries.shape.key_dim; d++)
        bound += 0.5 * queries.code_scales[i * queries.shape.key_groups() + d / queries.shape.key_group()] / kKeyStep * std::abs(double(key[d]) - centre[d]);
    return bound;
}

// A kernel against softmax in double precision over the rows as they read back.
//
// F16: float rounding only; 1e-4 of the weighted mean magnitude of the values.
// Packed, in the worst case: if no score moves by more than e, every weight stays within a factor exp(2e), which moves an
// output by at most (exp(2e) - 1) of that mean magnitude. Weights x value scale are then rounded to 1/255 of a page's largest:
// at most half of that for each of its rows, times the row's code point (|value| / scale <= the largest code point). That
// bound has to hold for every element. On Gaussian rows errors don't align: relative to the outputs' norm, weights err by
// 0.038 / sqrt(12) x deviation of the scores = 1.7% for queries of deviation 1.5, and rounding of weights, 0.29 / 255 of the largest
// each, adds under 1%. Measured: 1.1 to 1.4%.
static void check_definition(const Kernels& kernels, const PageFormat& kind, const HeadShape& shape, Random& random) {
    const Format format = kind.format;
    const bool coded = format_info(format).coded;
    AlignedBytes scratch(attention_scratch_bytes(shape));
    const ValueCoding values = format_info(format).values;
    // Of a linear code, in units of its row's root mean square, the largest element is at most 8.
    const double largest_point = values == ValueCoding::linear7 ? 8 : values == ValueCoding::trellis2 && !shape.latent ? 1.9753 : 2.7326;
    double error_energy = 0, energy = 0;
    for (int round = 0; round < check::rounds(30) && check::clean(); round++) {
        Case at = make_case(kind, shape, round % 3 == 1, round % 4 == 2 ? 3.0f : 0.0f, random);
        attend(kernels, at, coded, scratch.bytes.get());
        Queries& queries = *at.queries;
        for (int i = 0; i < queries.count; i++) {
            std::vector<DefinedRow> rows;
            std::vector<size_t> first_of_page;
            double moved = 0;
            for (const TestPage& page : at.pages) {
                first_of_page.push_back(rows.size());
                for (int r = 0; r < page.rows.count; r++) {
                    rows.push_back({page.keys.data() + size_t(r) * shape.key_dim, page.values.data() + size_t(r) * shape.value_dim,
                                    page.rows.position + r});
                    moved = std::max(moved, score_bound(queries, i, rows.back().key, at.centre.data()));
                }
            }
            first_of_page.push_back(rows.size());
            const DefinedAttention expected = define_attention(rows, queries.query.data() + size_t(i) * shape.key_dim, shape.key_dim,
                                                               shape.value_dim, queries.positions[i], queries.slopes[i], queries.soft_cap,
                                                               -std::numeric_limits<double>::infinity(), queries.first_seen[i]);
            if (expected.sum == 0) {
                CHECK_EQUAL(queries.sums[i], 0.0f);
                for (int d = 0; d < shape.value_dim; d++) CHECK_EQUAL(queries.output[size_t(i) * shape.value_dim + d], 0.0f);
                continue;
            }
            if (!coded) moved = 1e-5;
            CHECK_AT_MOST(std::abs(queries.maxima[i] - expected.maximum), moved + 1e-5);
            const int size = shape.value_group();
            std::vector<double> rounding(shape.value_groups());  // of weights
            for (size_t p = 0; coded && p + 1 < first_of_page.size(); p++) {
                for (int g = 0; g < shape.value_groups(); g++) {
                    double largest = 0;  // weight x scale, from above: the code points' root mean square is over 0.8
                    int visible = 0;
                    for (size_t r = first_of_page[p]; r < first_of_page[p + 1]; r++) {
                        double energy_of_group = 0;
                        for (int e = 0; e < size; e++) energy_of_group += std::pow(rows[r].value[g * size + e], 2);
                        largest = std::max(largest, expected.weights[r] * std::exp(2 * moved) * std::sqrt(energy_of_group / size) / 0.8);
                        visible += expected.weights[r] > 0;
                    }
                    rounding[g] += 0.5 / kWeightMax * largest * largest_point * visible;
                }
            }
            for (int d = 0; d < shape.value_dim; d++) {
                const double found = queries.output[size_t(i) * shape.value_dim + d] / queries.sums[i];
                const double bound = (coded ? std::exp(2 * moved) - 1 : 0) * expected.magnitude[d] + rounding[d / size] +
                                     1e-4 * (expected.magnitude[d] + 1e-3);
                CHECK_AT_MOST(std::abs(found - expected.output[d]), bound);
                error_energy += std::pow(found - expected.output[d], 2);
                energy += expected.output[d] * expected.output[d];
            }
        }
    }
    const double relative = std::sqrt(error_energy / energy);
    std::printf("# %s, %s: relative error %.2g\n", kernels.name, format_info(format).name, relative);
    CHECK_AT_MOST(relative, coded ? 0.02 : 1e-5);
}

// Of any number of rows, into a part of a wider matrix; of matrices with most elements 0 in two pieces, as if they had a border.
static void check_product(const Kernels& kernels, Random& random) {
    for (int round = 0; round < check::rounds(60) && check::clean(); round++) {
        const int rows = random.between(1, 20), inner = random.between(1, 70), stride = kPanelColumns + 3 * random.between(0, 2);
        std::vector<float> a = random.gaussians(size_t(rows) * inner);
        std::vector<PanelRow> b(inner);
        for (PanelRow& row : b)
            for (float& x : row.at) x = random.gaussian();
        const std::vector<float> before = random.gaussians(size_t(rows) * stride);
        const auto check = [&](const std::vector<float>& product) {
            for (int r = 0; r < rows; r++)
                for (int c = 0; c < stride; c++) {
                    double expected = before[size_t(r) * stride + c];
                    for (int i = 0; c < kPanelColumns && i < inner; i++) expected += double(a[size_t(r) * inner + i]) * b[i].at[c];
                    CHECK_AT_MOST(std::abs(product[size_t(r) * stride + c] - expected), 1e-4);
                }
        };
        std::vector<float> product = before;
        kernels.add_product(a.data(), rows, inner, b.data(), product.data(), stride);
        check(product);

        for (float& x : a) x = random.chance(0.3) ? x : 0;
        const int border = random.between(0, inner);
        std::vector<uint32_t> begins, borders, ends;
        std::vector<uint16_t> columns;
        std::vector<float> values;
        for (int r = 0; r < rows; r++) {
            begins.push_back(uint32_t(values.size()));
            borders.push_back(begins.back());
            for (int i = 0; i < inner; i++) {
                if (a[size_t(r) * inner + i] == 0) continue;
                columns.push_back(uint16_t(i));
                values.push_back(a[size_t(r) * inner + i]);
                if (i < border) borders.back()++;
            }
            ends.push_back(uint32_t(values.size()));
        }
        product = before;
        kernels.add_sparse_product({rows, begins.data(), borders.data(), columns.data(), values.data()}, b.data(), product.data(), stride);
        kernels.add_sparse_product({rows, borders.data(), ends.data(), columns.data(), values.data()}, b.data(), product.data(), stride);
        check(product);
    }
}

int main(int argc, char** argv) {
    check::begin(argc, argv);
    const Kernels* found[4];
    const int count = available_kernels(found);
    std::printf("# kernels:");
    for (int k = 0; k < count; k++) std::printf(" %s", found[k]->name);
    std::printf("\n");
    for (int k = 0; k < count; k++) {
        Random random(check::state().seed);
        check::run(std::string(found[k]->name) + ": products of matrices", [&] { check_product(*found[k], random); });
        for (const HeadShape& shape : kShapes) {
            for (const PageFormat& kind : kPageFormats) {
                const std::string name = std::string(found[k]->name) + ": attention over pages of " + std::to_string(kind.rows) + " rows, " +
                                         format_info(kind.format).name + ", head size " + std::to_string(shape.key_dim) + "/" + std::to_string(shape.value_dim) + (shape.latent ? ", latent" : "");
                if (found[k] != &kScalarKernels)
                    check::run(name + ", is as the scalar kernel's", [&] { check_like_scalar(*found[k], kind, shape, random); });
                check::run(name + ", is that of the definition", [&] { check_definition(*found[k], kind, shape, random); });
            }
        }
    }
    return check::finish();
}
