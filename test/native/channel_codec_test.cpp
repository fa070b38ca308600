// Archived rows in asymmetric groups of channels.
#include "archive/channel_codec.h"
#include "archived_rows.h"

using namespace deltastore;

static CodecOptions options_of(int key_bits, int value_bits, int group) {
    CodecOptions options;
    options.kind = CodecOptions::Kind::channel;
    options.key_bits = uint8_t(key_bits);
    options.value_bits = uint8_t(value_bits);
    options.group = uint16_t(group);
    return options;
}

// Numbers of a group, `stride` apart: no farther off than half a step, of a range whose ends are rounded to 11 bits.
static void check_group(const float* before, const float* after, int count, int stride, int bits) {
    float least = before[0], most = before[0];
    for (int i = 1; i < count; i++) {
        least = std::min(least, before[i * stride]);
        most = std::max(most, before[i * stride]);
    }
    const float range = most - least + std::abs(least) * 0x1p-10f + 0x1p-24f, step = range / float((1 << bits) - 1) * (1 + 0x1p-10f) + 0x1p-24f;
    for (int i = 0; i < count; i++) CHECK_AT_MOST(std::abs(after[i * stride] - before[i * stride]), 0.5f * step + 1e-6f * std::max(std::abs(least), std::abs(most)));
}

static void check_run(const CodecOptions& options, const RowRun& before, const RowRun& after) {
    const int rows = before.rows(), key_dim = int(before.keys.size()) / rows, value_dim = int(before.values.size()) / rows;
    for (int first = 0; first < rows; first += options.group)
        for (int channel = 0; channel < key_dim; channel++) {
            const size_t at = size_t(first) * key_dim + channel;
            check_group(&before.keys[at], &after.keys[at], std::min<int>(options.group, rows - first), key_dim, options.key_bits);
        }
    for (int row = 0; row < rows; row++)
        for (int first = 0; first < value_dim; first += options.group) {
            const size_t at = size_t(row) * value_dim + first;
            check_group(&before.values[at], &after.values[at], std::min<int>(options.group, value_dim - first), 1, options.value_bits);
        }
}

static void check_half_a_step() {
    Random random(check::state().seed);
    for (const int group : {1, 7, 16, 32, 64, 65535})
        for (int bits = 1; bits <= 8; bits++) {
            const CodecOptions options = options_of(bits, 9 - bits, group);
            const ChannelCodec codec(options);
            const RowRuns runs = make_runs(random.between(1, kPageRows), random), back = decoded(codec, encoded(codec, runs), runs);
            for (size_t i = 0; i < runs.size(); i++) check_run(options, runs[i], back[i]);
        }
}

static void check_odd_rows() {
    Random random(check::state().seed);
    for (int input = 0; input < kInputCount; input++)
        for (const int bits : {2, 8}) {
            const CodecOptions options = options_of(bits, bits, 32);
            const ChannelCodec codec(options);
            const RowRuns runs = {run_of(0, 64, make_rows(input, 64, 64, random), make_rows(input, 64, 64, random))};
            check_run(options, runs[0], decoded(codec, encoded(codec, runs), runs)[0]);
        }
}

static void check_errors() {
    Random random(check::state().seed);
    const RowRuns runs = make_runs(64, random);
    double before = 1;
    for (const int bits : {2, 3, 4, 8}) {
        const double error = mean_error(ChannelCodec(options_of(bits, bits, 32)), runs);
        std::printf("# %d bits: a relative squared error of %.6f\n", bits, error);
        CHECK_AT_MOST(error, before / 3);
        before = error;
    }
}

// One byte, and for each group 4 bytes and its codes' bits.
static void check_sizes() {
    Random random(check::state().seed);
    const std::vector<HeadShape> shapes = {{64, 80}};
    const RowRuns runs = make_runs(21, random, shapes);
    CHECK_EQUAL(encoded(ChannelCodec(options_of(3, 5, 16)), runs).size(), size_t(1 + 64 * 2 * 4 + (21 * 64 * 3 + 7) / 8 + 21 * 5 * 4 + (21 * 80 * 5 + 7) / 8));
    CHECK_EQUAL(encoded(ChannelCodec(options_of(2, 2, 32)), runs).size(), size_t(1 + 64 * 4 + 21 * 64 / 4 + 21 * 3 * 4 + 21 * 80 / 4));
}

static void check_options() {
    for (const CodecOptions& options : {options_of(0, 4, 32), options_of(4, 9, 32), options_of(4, 4, 0)})
        CHECK_CODE(code_of([&] { ChannelCodec codec(options); }), "OPTION_INVALID");
}

int main(int argc, char** argv) {
    check::begin(argc, argv);
    check::run("channel codec: numbers come back within half a step", check_half_a_step);
    check::run("channel codec: odd numbers come back within half a step", check_odd_rows);
    check::run("channel codec: errors fall with more bits", check_errors);
    check::run("channel codec: bytes are as many as they should be", check_sizes);
    check::run("channel codec: bits and groups that there can't be are refused", check_options);
    check::run("channel codec: rows of any count come back", [] { check_all_counts(ChannelCodec(options_of(3, 5, 32)), 0.1); });
    check::run("channel codec: damaged bytes are refused, or give rows of some value", [] { check_damaged(ChannelCodec(options_of(3, 5, 32))); });
    return check::finish();
}
