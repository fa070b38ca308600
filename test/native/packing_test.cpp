// Packed rows: every instruction set gives the scalar kernel's bytes, and those lose what they should.
#include <algorithm>

#include "format/codebook.h"
#include "kernels/codec.h"
#include "format/half.h"
#include "check.h"
#include "codec_inputs.h"

using namespace deltastore;

struct Packed {
    std::vector<uint8_t> codes;
    std::vector<uint16_t> scales;
    bool operator==(const Packed& other) const { return codes == other.codes && scales == other.scales; }
};

// Keys or values, packed as a format does it.
struct Kind {
    const char* name;
    Format format;
    bool keys;
    double codebook;  // expected squared error
    int rows = kPageRows;  // of a page
    int bits() const { return keys ? format_info(format).key_bits : format_info(format).value_bits; }
    int group_bytes(int dim) const { return keys ? key_group_bytes(bits(), group_of(dim)) : group_of(dim) * bits() / 8; }  // of a row
    Packed empty(int dim) const {
        const size_t groups = size_t(rows) * dim / group_of(dim);
        return {std::vector<uint8_t>(groups * group_bytes(dim), 0xff), std::vector<uint16_t>(groups, 0xffff)};
    }
    void pack(const Kernels& kernels, const float* source, int count, int dim, const float* centre, int first, Packed& target) const {
        const FormatInfo& info = format_info(format);
        if (keys) kernels.pack_keys(info.keys, source, count, dim, centre, first, rows, target.codes.data(), target.scales.data());
        else kernels.pack_values(info.values, source, count, dim, first, rows, target.codes.data(), target.scales.data());
    }
    // Of 3 bits what is behind a group's last 32 elements has 4.
    double codebook_of(int dim) const {
        const int rest = bits() == 3 ? group_of(dim) % 32 : 0;
        return codebook + (0.0095 - codebook) * rest / group_of(dim);
    }
    // Row that a byte of the codes belongs to, as format.h has it.
    int row_of(size_t byte, int dim) const {
        if (keys) return int(byte / 4 % rows);
        const size_t row_bytes = group_bytes(dim), in_group = byte % (row_bytes * rows);
        const int four = int(in_group / (4 * row_bytes) * 4);
        return four + int(in_group % (rows - four < 4 ? 2 : 4));
    }
};
static const Kind kKinds[] = {{"keys at 4 bits", Format::k4v4, true, 0.0095},
                              {"keys at 3 bits", Format::k3v2, true, 0.0345},
                              {"values at 4 bits", Format::k4v4, false, 0.0095},
                              {"values at 2 bits", Format::k4v2, false, 0.0973},
                              {"refined values", Format::k4v2, false, 0.0973, 14},
                              {"keys at 8 bits", Format::k8v8, true, 0},
                              {"values at 8 bits", Format::k8v8, false, 0},
                              {"keys at 8 bits, window", Format::k8v8, true, 0, kWindowPageRows},
                              {"values at 8 bits, window", Format::k8v8, false, 0, kWindowPageRows}};

static void check_same_bytes(const Kernels& kernels, const Kind& kind, int dim, Random& random) {
    for (int rows_kind = 0; rows_kind < kInputCount; rows_kind++) {
        const std::vector<float> rows = make_rows(rows_kind, kind.rows, dim, random);
        const std::vector<float> centre = rows_kind % 2 ? std::vector<float>(dim, 0.0f) : random.gaussians(dim, 0.3f);
        Packed expected = kind.empty(dim), found = kind.empty(dim);
        kind.pack(kScalarKernels, rows.data(), kind.rows, dim, centre.data(), 0, expected);
        kind.pack(kernels, rows.data(), kind.rows, dim, centre.data(), 0, found);
        if (!(expected == found)) check::fail(__FILE__, __LINE__, std::string("other bytes for ") + kInputs[rows_kind]);
        check::state().checks++;
        // In pieces of any size, in any order.
        Packed pieces = kind.empty(dim);
        std::vector<std::pair<int, int>> order;
        for (int first = 0; first < kind.rows;) {
            const int count = rows_kind == 0 ? 1 : random.between(1, std::min(20, kind.rows - first));
            order.emplace_back(first, count);
            first += count;
        }
        for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[random.between(0, int(i) - 1)]);
        for (size_t i = 0; i < order.size(); i++) {
            const auto [first, count] = order[i];
            const Packed before = pieces;
            kind.pack(kernels, rows.data() + size_t(first) * dim, count, dim, centre.data(), first, pieces);
            const auto mine = [&, first = first, count = count](int row) { return row >= first && row < first + count; };
            for (size_t b = 0; b < pieces.codes.size(); b++)
                CHECK_EQUAL(pieces.codes[b], (mine(kind.row_of(b, dim)) ? expected : before).codes[b]);
            for (size_t s = 0; s < pieces.scales.size(); s++)
                CHECK_EQUAL(pieces.scales[s], (mine(int(s % kind.rows)) ? expected : before).scales[s]);
            if (!check::clean()) return;
        }
    }
}

// Unit Gaussian rows of a group. With codes c of the row at unit variance and distortion D = E|x - c|^2, a centroid quantizer has
// <x,c> = |c|^2 = 1 - D, so that the projection scale makes it D / (1 - D). The integer code points add step^2 / 12.
static void check_distortion(const Kernels& kernels, const Kind& kind, int dim) {
    Random random(check::state().seed);
    const std::vector<float> centre(dim, 0.0f);
    const Format format = kind.format;
    const PageLayout layout = page_layout(format, {dim, dim}, kPageRows);
    std::vector<uint8_t> page(layout.bytes, 0xff);
    double error = 0, code_error = 0;
    constexpr int pages = 40;
    for (int p = 0; p < pages; p++) {
        const std::vector<float> rows = random.gaussians(kPageRows * dim);
        std::vector<float> back(rows.size());
        if (kind.keys) {
            write_keys(kernels, page.data(), layout, format, {dim, dim}, centre.data(), 0, kPageRows, rows.data());
            read_rows(page.data(), layout, format, {dim, dim}, centre.data(), 0, kPageRows, back.data(), nullptr);
        } else {
            write_values(kernels, page.data(), layout, format, {dim, dim}, 0, kPageRows, rows.data());
            read_rows(page.data(), layout, format, {dim, dim}, nullptr, 0, kPageRows, nullptr, back.data());
        }
        const uint16_t* scales = reinterpret_cast<const uint16_t*>(page.data() + (kind.keys ? layout.key_scales : layout.value_scales));
        for (int r = 0; r < kPageRows; r++) {
            const double scale = half_to_float(scales[r]);
            double energy = 0, projection = 0, row_error = 0, row_code_error = 0;
            for (int d = 0; d < dim; d++) energy += double(rows[r * dim + d]) * rows[r * dim + d];
            const double rms = std::sqrt(energy / dim);
            for (int d = 0; d < dim; d++) {
                const double x = rows[r * dim + d], y = back[r * dim + d];
                projection += x * y;
                row_error += (x - y) * (x - y);
                row_code_error += std::pow(x / rms - y / scale, 2);
            }
            // The scale is a half: 11 bits, so half a unit is at most 2^-11 of it.
            CHECK_AT_MOST(std::abs(projection - energy) / energy, 0x1p-11 + 1e-5);
            error += row_error;
            code_error += row_code_error;
        }
    }
    error /= pages * kPageRows * dim;
    code_error /= pages * kPageRows * dim;
    std::printf("# %s, head size %d: squared error of the codes %.5f (codebook %.4f), with the projection scale %.5f\n", kind.name, dim, code_error,
                kind.codebook_of(dim), error);
    // 164,000 elements: sampling error is about 0.5%; rows at unit variance, not the elements, move it by under 3%.
    CHECK_AT_MOST(std::abs(code_error / kind.codebook_of(dim) - 1), 0.05);
    CHECK_AT_MOST(std::abs(error / (code_error / (1 - code_error)) - 1), 0.05);
}

// Half a step of the largest element, and what the scale, a half, may be off.
static void check_linear(const Kernels& kernels, const Kind& kind, int dim, Random& random) {
    const HeadShape shape{dim, dim};
    const PageLayout layout = page_layout(kind.format, shape, kind.rows);
    for (int input = 0; input < kInputCount; input++) {
        const std::vector<float> rows = make_rows(input, kind.rows, dim, random);
        std::vector<uint8_t> page(layout.bytes, 0xff);
        std::vector<float> back(rows.size());
        if (kind.keys) write_keys(kernels, page.data(), layout, kind.format, shape, nullptr, 0, kind.rows, rows.data());
        else write_values(kernels, page.data(), layout, kind.format, shape, 0, kind.rows, rows.data());
        read_rows(page.data(), layout, kind.format, shape, nullptr, 0, kind.rows, kind.keys ? back.data() : nullptr, kind.keys ? nullptr : back.data());
        const int most = kind.keys ? kLinearKeyMax : kLinearValueMax;
        for (int r = 0; r < kind.rows; r++) {
            float largest = 0;
            for (int d = 0; d < dim; d++) largest = std::max(largest, std::abs(rows[r * dim + d]));
            const float scale_error = largest * 0x1p-11f + most * 0x1p-24f * kKeyStep;  // of a normal half, of a subnormal one
            for (int d = 0; d < dim; d++)
                CHECK_AT_MOST(std::abs(rows[r * dim + d] - back[r * dim + d]), 0.501f * largest / most + scale_error + most * 0x1p-24f);
        }
    }
}

// With a second code the distortion of 2 bits comes twice.
static void check_refined(const Kernels& kernels, Format format, const HeadShape& shape, Random& random) {
    const PageLayout layout = page_layout(format, shape, kPageRows);
    const int refined = format_info(format).refined, dim = shape.value_dim;
    std::vector<uint8_t> page(layout.bytes, 0), other(layout.bytes, 0);
    const std::vector<float> rows = random.gaussians(size_t(kPageRows) * dim);
    write_values(kernels, page.data(), layout, format, shape, 0, kPageRows, rows.data());
    const std::vector<uint8_t> plain = page;
    std::vector<int> order(kPageRows);
    for (int r = 0; r < kPageRows; r++) order[r] = r;
    for (int r = kPageRows - 1; r > 0; r--) std::swap(order[r], order[random.between(0, r)]);
    order.resize(refined);
    for (int first = 0; first < refined;) {  // a few at a time
        const int count = random.between(1, refined - first);
        refine_rows(kernels, page.data(), layout, format, shape, order.data() + first, count, rows.data());
        first += count;
        CHECK_EQUAL(refined_rows(page.data(), layout), first);
    }
    const auto has = [&](int row) { return std::find(order.begin(), order.end(), row) != order.end(); };
    const auto compare = [&](const std::vector<uint8_t>& found, const auto& is_refined) {
        std::vector<float> back(rows.size()), coarse(rows.size());
        read_rows(found.data(), layout, format, shape, nullptr, 0, kPageRows, nullptr, back.data());
        read_rows(plain.data(), layout, format, shape, nullptr, 0, kPageRows, nullptr, coarse.data());
        for (int r = 0; r < kPageRows; r++) {
            double error = 0, energy = 0;
            for (int d = 0; d < dim; d++) {
                error += std::pow(back[r * dim + d] - rows[r * dim + d], 2);
                energy += std::pow(rows[r * dim + d], 2);
            }
            if (is_refined(r)) CHECK_AT_MOST(error / energy, 0.05);  // about 0.0973 squared, and what 64 elements scatter; one code leaves 0.07 or more
            else CHECK(std::equal(back.begin() + r * dim, back.begin() + (r + 1) * dim, coarse.begin() + r * dim));
        }
    };
    compare(page, has);
    for (int r = 0; r < kPageRows; r++) copy_row(format, shape, page.data(), layout, r, other.data(), layout, r);
    compare(other, has);
    for (int first : {40, 20, 0}) {
        unrefine_rows(page.data(), layout, shape, first);
        compare(page, [&](int row) { return row < first && has(row); });
    }
    CHECK_EQUAL(refined_rows(page.data(), layout), 0);
}

// Rows that go from page to page read back the same, and nothing behind a page is written.
static void check_copies(const Kernels& kernels, Format format, const HeadShape& shape, Random& random) {
    const PageLayout layout = page_layout(format, shape, kPageRows);
    constexpr size_t behind = 1 << 16;
    std::vector<uint8_t> page(layout.bytes, 0), copy(layout.bytes + behind, 0xaa);
    std::fill_n(copy.begin(), layout.bytes, 0);
    const std::vector<float> keys = random.gaussians(size_t(kPageRows) * shape.key_dim), values = random.gaussians(size_t(kPageRows) * shape.value_dim);
    write_keys(kernels, page.data(), layout, format, shape, nullptr, 0, kPageRows, keys.data());
    write_values(kernels, page.data(), layout, format, shape, 0, kPageRows, values.data());
    for (int r = 0; r < kPageRows; r++) copy_row(format, shape, page.data(), layout, r, copy.data(), layout, kPageRows - 1 - r);
    const auto read = [&](const std::vector<uint8_t>& from, int row) {
        std::vector<float> found(shape.key_dim + shape.value_dim);
        read_rows(from.data(), layout, format, shape, nullptr, row, 1, found.data(), found.data() + shape.key_dim);
        return found;
    };
    for (int r = 0; r < kPageRows; r++) CHECK(read(page, r) == read(copy, kPageRows - 1 - r));
    CHECK_EQUAL(size_t(std::count(copy.begin() + layout.bytes, copy.end(), 0xaa)), behind);
}

int main(int argc, char** argv) {
    check::begin(argc, argv);
    with_each_kernel([](const Kernels& kernels, Random& random) {
        const std::string name = kernels.name;
        for (const int dim : kDims)
            for (const Kind& kind : kKinds)
                check::run(name + ": " + kind.name + " have the scalar kernel's bytes, head size " + std::to_string(dim),
                           [&] { check_same_bytes(kernels, kind, dim, random); });
        for (const int dim : {64, 72, 80, 96, 112})
            for (const Kind& kind : kKinds) {
                const std::string of = name + ": " + kind.name + ", head size " + std::to_string(dim);
                if (kind.format == Format::k8v8) check::run(of + ", are off by half a step", [&] { check_linear(kernels, kind, dim, random); });
                else if (kind.rows == kPageRows) check::run(of + ", have the codebook's distortion", [&] { check_distortion(kernels, kind, dim); });
            }
        for (const Format format : {Format::k4v2r6, Format::k4v2r14, Format::k3v2r6, Format::k3v2r14})
            for (const int dim : kDims)
                if (dim >= 64)
                    check::run(name + ": refined rows of " + format_info(format).name + " have the distortion of two codes, head size " + std::to_string(dim),
                               [&] { check_refined(kernels, format, {dim, dim}, random); });
        for (const HeadShape& shape : {HeadShape{64, 64}, {80, 96}, {72, 8}, {192, 128, /*latent*/ true}})
            for (int format = 0; format < kFormatCount; format++)
                check::run(name + ": rows are copied, " + format_info(Format(format)).name + ", head size " + std::to_string(shape.key_dim) +
                               (shape.latent ? ", latent" : ""), [&] { check_copies(kernels, Format(format), shape, random); });
    });
    return check::finish();
}
