// Halves, Hadamard rotations and 7-bit queries, of every instruction set, by their definitions.
#include <algorithm>
#include <cstring>
#include <limits>

#include "format/codebook.h"
#include "kernels/codec.h"
#include "format/half.h"
#include "check.h"
#include "codec_inputs.h"

using namespace deltastore;

static void check_halves(const Kernels& kernels) {
    std::vector<uint16_t> halves(65536), back(65536);
    std::vector<float> floats(65536);
    for (int h = 0; h < 65536; h++) halves[h] = uint16_t(h);
    kernels.load_half(halves.data(), floats.data(), 65536);
    kernels.store_half(floats.data(), back.data(), 65536);
    for (int h = 0; h < 65536; h++) {
        const int exponent = h >> 10 & 31, mantissa = h & 1023, sign = h & 0x8000;
        const bool nan = exponent == 31 && mantissa != 0, infinite = exponent == 31 && mantissa == 0;
        if (nan) CHECK(floats[h] != floats[h]);
        else {
            const double magnitude = infinite ? std::numeric_limits<double>::infinity()
                                              : std::ldexp(exponent ? 1024 + mantissa : mantissa, std::max(exponent, 1) - 25);
            CHECK_EQUAL(double(floats[h]), sign ? -magnitude : magnitude);
            CHECK_EQUAL(std::signbit(floats[h]), sign != 0);
        }
        CHECK_EQUAL(back[h], nan ? 0 : infinite ? sign | 0x7bff : h);
    }
}

static void check_rounding(const Kernels& kernels, Random& random) {
    std::vector<float> floats;
    for (int h = 0; h < 0x7c00; h++) {  // halfway between two halves, and its neighbours
        const float low = half_to_float(uint16_t(h)), high = h == 0x7bff ? 65536.0f : half_to_float(uint16_t(h + 1));
        const float middle = 0.5f * (low + high);
        for (float x : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)}) floats.insert(floats.end(), {x, -x});
    }
    for (float x : {1e30f, 65505.0f, 65519.996f, 65520.0f, 1e-30f, 1e-45f, std::numeric_limits<float>::infinity()}) floats.insert(floats.end(), {x, -x});
    for (int i = 0; i < 200000; i++) floats.push_back(float_from_bits(uint32_t(random.next())));
    floats.resize(floats.size() / 64 * 64 + 64);
    std::vector<uint16_t> found(floats.size());
    kernels.store_half(floats.data(), found.data(), int(floats.size()));
    for (size_t i = 0; i < floats.size(); i++) {
        const float x = floats[i];
        int expected = 0;
        if (x == x) {  // by definition: the nearest half, the even one of two, never infinity
            const double magnitude = std::min(std::abs(double(x)), 65504.0);
            const int exponent = std::max(magnitude > 0 ? std::ilogb(magnitude) : -14, -14);
            const double units = std::nearbyint(std::ldexp(magnitude, 10 - exponent));
            expected = std::min(int(units) + ((exponent + 14) << 10), 0x7bff) | (std::signbit(x) ? 0x8000 : 0);
        }
        CHECK_EQUAL(found[i], expected);
    }
}

// Nothing but the halves and floats that are asked for.
static void check_few_halves(const Kernels& kernels, Random& random) {
    for (int count = 8; count <= 136; count += 8) {
        const std::vector<float> floats = random.gaussians(count);
        std::vector<uint16_t> halves(count + 16, 0xffff);
        kernels.store_half(floats.data(), halves.data(), count);
        for (int i = 0; i < count + 16; i++) CHECK_EQUAL(halves[i], i < count ? float_to_half(floats[i]) : 0xffff);
        std::vector<float> back(count + 16, 7.0f);
        kernels.load_half(std::vector<uint16_t>(halves.begin(), halves.begin() + count).data(), back.data(), count);
        for (int i = 0; i < count + 16; i++) CHECK_EQUAL(back[i], i < count ? half_to_float(halves[i]) : 7.0f);
    }
}

// Element (i, j) of the Hadamard matrix of n is -1 to the number of ones that i and j share, over the root of n; of the Hartley matrix of m
// it is (cos x + sin x) over the root of m, for x = 2 pi i j / m.
static void check_rotation(const Kernels& kernels, int block, Random& random) {
    const int rows = 3, dim = 2 * block, power = block & -block, odd = block / power;
    const std::vector<float> before = random.gaussians(rows * dim);
    std::vector<float> rotated = before, scalar = before;
    kernels.rotate(rotated.data(), rows, dim, block);
    kScalarKernels.rotate(scalar.data(), rows, dim, block);
    for (int i = 0; i < rows * dim; i++) {
        const float* source = before.data() + i / block * block;
        double expected = 0;
        for (int j = 0; j < block; j++) {
            const double x = 2 * std::acos(-1.0) * ((i % block / power) * (j / power) % odd) / odd;
            expected += (std::cos(x) + std::sin(x)) * (__builtin_popcount(i % power & j % power) % 2 ? -source[j] : source[j]);
        }
        CHECK_AT_MOST(std::abs(rotated[i] - expected / std::sqrt(double(block))), 1e-5);
        CHECK_EQUAL(rotated[i], scalar[i]);
    }
    kernels.rotate(rotated.data(), rows, dim, block);
    for (int i = 0; i < rows * dim; i++) CHECK_AT_MOST(std::abs(rotated[i] - before[i]), 1e-5);
}

static void check_queries(const Kernels& kernels, int dim, Random& random) {
    for (int kind = 0; kind < kInputCount; kind++) {
        const int count = random.between(1, 9), size = group_of(dim), groups = count * dim / size;
        const std::vector<float> queries = make_rows(kind, count, dim, random);
        std::vector<int8_t> codes(queries.size()), expected_codes(queries.size());
        std::vector<float> scales(groups), expected_scales(groups);
        std::vector<int32_t> sums(groups), expected_sums(groups);
        kScalarKernels.quantize_queries(queries.data(), count, dim, expected_codes.data(), expected_scales.data(), expected_sums.data());
        kernels.quantize_queries(queries.data(), count, dim, codes.data(), scales.data(), sums.data());
        CHECK(codes == expected_codes);
        CHECK(std::memcmp(scales.data(), expected_scales.data(), groups * sizeof(float)) == 0);
        CHECK(sums == expected_sums);
        for (int g = 0; g < groups; g++) {
            int sum = 0;
            const double step = double(scales[g]) / kKeyStep;
            for (int e = 0; e < size; e++) {
                const int at = g * size + e;
                sum += codes[at];
                CHECK_AT_MOST(std::abs(int(codes[at])), kQueryMax);
                // Half a step, and what a float keeps of numbers below 1e-38.
                CHECK_AT_MOST(std::abs(queries[at] - codes[at] * step), 0.5001 * step + 1e-36);
            }
            CHECK_EQUAL(sums[g], sum);
        }
    }
}

// A bad query gives no undefined arithmetic and leaves its neighbours alone.
static void check_bad_queries(const Kernels& kernels, Random& random) {
    std::vector<float> queries = random.gaussians(3 * 64);
    std::vector<int8_t> codes(queries.size()), good(queries.size());
    float scales[3], good_scales[3];
    int32_t sums[3], good_sums[3];
    kernels.quantize_queries(queries.data(), 3, 64, good.data(), good_scales, good_sums);
    for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        for (int first : {0, 1, 17, 62}) {
            std::vector<float> spoiled = queries;
            for (int e = first; e < 64; e += 2) spoiled[64 + e] = e % 4 ? bad : -bad;
            kernels.quantize_queries(spoiled.data(), 3, 64, codes.data(), scales, sums);
            for (int i : {0, 2}) {
                CHECK(std::memcmp(codes.data() + i * 64, good.data() + i * 64, 64) == 0);
                CHECK_EQUAL(scales[i], good_scales[i]);
                CHECK_EQUAL(sums[i], good_sums[i]);
            }
            CHECK(std::isfinite(scales[1]));
            for (int e = 0; e < 64; e++) CHECK_AT_MOST(std::abs(int(codes[64 + e])), kQueryMax);
        }
    }
}

int main(int argc, char** argv) {
    check::begin(argc, argv);
    with_each_kernel([](const Kernels& kernels, Random& random) {
        const std::string name = kernels.name;
        check::run(name + ": halves turn into floats and back", [&] { check_halves(kernels); });
        check::run(name + ": floats turn into the nearest half", [&] { check_rounding(kernels, random); });
        check::run(name + ": a few halves and floats leave their neighbours alone", [&] { check_few_halves(kernels, random); });
        for (const int block : {64, 128, 256, 72, 80, 96, 112, 120, 160, 24, 8})
            check::run(name + ": a rotation is the matrix of its definition, in blocks of " + std::to_string(block), [&] { check_rotation(kernels, block, random); });
        for (const int dim : kDims)
            check::run(name + ": 7-bit queries are off by half a step, head size " + std::to_string(dim), [&] { check_queries(kernels, dim, random); });
        check::run(name + ": a bad query leaves its neighbours alone", [&] { check_bad_queries(kernels, random); });
    });
    return check::finish();
}
