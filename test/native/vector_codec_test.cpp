// Vector and product quantization of archived rows.
#include <memory>

#include "archive/vector_codec.h"
#include "archived_rows.h"

using namespace deltastore;
using Kind = CodecOptions::Kind;

static CodecOptions options_of(Kind kind, int size, float threshold = 0) {
    CodecOptions options;
    options.kind = kind;
    options.size = uint8_t(size);
    options.threshold = threshold;
    return options;
}

// What errors are measured on: learning from rows enough takes long under sanitizers.
static const std::vector<HeadShape> kOneHead = {{64, 64}};
static constexpr int kEnough = 1024, kFew = 100;  // rows

static Bytes learn(const CodecOptions& options, int rows = kFew, const std::vector<HeadShape>& shapes = kShapes) {
    Random random(check::state().seed + 1);
    VectorTraining training(shapes, options, *select_kernels());
    for (int i = 0; i < rows; i += 64) training.add(make_runs(std::min(64, rows - i), random, shapes));
    CHECK_EQUAL(training.rows(), rows);
    Bytes book;
    Writer writer = writer_to(book);
    training.write(writer);
    return book;
}

static VectorCodec codec_of(const CodecOptions& options, const Bytes& book, const std::vector<HeadShape>& shapes = kShapes) {
    SpanReader span({book.data(), book.size()});
    Reader reader = span.reader();
    VectorCodec codec(shapes, options, reader, *select_kernels());
    span.finish();
    return codec;
}

static double error_of(Kind kind, int size) {
    Random random(check::state().seed);
    const CodecOptions options = options_of(kind, size);
    const double error = mean_error(codec_of(options, learn(options, kEnough, kOneHead), kOneHead), make_runs(64, random, kOneHead));
    std::printf("# %s of size %d: a relative squared error of %.4f\n", kind == Kind::vector ? "vectors" : "products", size, error);
    return error;
}

// 8 bits for n values leave at least 2^(-16 / n) of gaussian ones.
static void check_errors() {
    const double of2 = error_of(Kind::vector, 2), of4 = error_of(Kind::vector, 4), of8 = error_of(Kind::vector, 8);
    CHECK_AT_MOST(of2, 0.02);
    CHECK_AT_MOST(of4, 0.15);
    CHECK_AT_MOST(of8, 0.5);
    CHECK_AT_MOST(3 * of2, of4);
    CHECK_AT_MOST(1.5 * of4, of8);
    const double in16 = error_of(Kind::product, 16), in8 = error_of(Kind::product, 8);
    CHECK_AT_MOST(in16, of4);  // as each part has code words of its own
    CHECK_AT_MOST(1.5 * in16, in8);
}

static void check_threshold(Kind kind, int size) {
    Random random(check::state().seed);
    const RowRuns runs = make_runs(64, random, kOneHead);
    const Bytes book = learn(options_of(kind, size), kEnough, kOneHead);
    int coded = 0, exact = 0;
    for (const float threshold : {0.01f, 0.03f, 0.1f}) {
        const VectorCodec codec = codec_of(options_of(kind, size, threshold), book, kOneHead);
        for_rows(runs, decoded(codec, encoded(codec, runs), runs), [&](const float* before, const float* after, int dim) {
            const double error = relative_error(before, after, dim);
            CHECK_AT_MOST(error, threshold + 1e-6);
            (error > 1e-6 ? coded : exact)++;
        });
    }
    CHECK_AT_LEAST(coded, 1);
    CHECK_AT_LEAST(exact, 1);
}

// Bits of the rows, and a byte for each part.
static void check_sizes() {
    Random random(check::state().seed);
    const RowRuns runs = make_runs(20, random);
    const int values = 64 + 64 + 80 + 128 + 128 + 80 + 64;
    for (const int size : {2, 4, 8}) {
        const CodecOptions options = options_of(Kind::vector, size);
        CHECK_EQUAL(encoded(codec_of(options, learn(options)), runs).size(), size_t(7 * 3 + 20 * values / size));
    }
    const CodecOptions options = options_of(Kind::product, 16);
    CHECK_EQUAL(encoded(codec_of(options, learn(options)), runs).size(), size_t(7 * (3 + 20 * 16)));
}

// Fewer rows than code words, rows that are all alike, and ends of what a half holds.
static void check_odd_rows(Kind kind, int size) {
    const CodecOptions options = options_of(kind, size);
    Random random(check::state().seed);
    for (int input = 0; input < kInputCount; input++) {
        const RowRuns runs = {run_of(0, 3, make_rows(input, 3, 64, random), make_rows(input, 3, 64, random))};
        VectorTraining training(kOneHead, options, *select_kernels());
        training.add(runs);
        Bytes book;
        Writer writer = writer_to(book);
        training.write(writer);
        const VectorCodec codec = codec_of(options, book, kOneHead);
        const RowRuns back = decoded(codec, encoded(codec, runs), runs);
        check_finite(back);
        for_rows(runs, back, [](const float* before, const float* after, int dim) {
            // Each part has a code word of its own, of 11 bits times the scale.
            float most = 1e-6f;
            for (int d = 0; d < dim; d++) most = std::max(most, std::abs(before[d]));
            for (int d = 0; d < dim; d++) CHECK_AT_MOST(std::abs(after[d] - before[d]), 0.01f * most);
        });
    }
}

static void check_books(Kind kind) {
    constexpr int outline = 46;  // bytes before the code books
    const CodecOptions options = options_of(kind, 8);
    const Bytes book = learn(options);
    CHECK(book == learn(options));
    CHECK_CODE(code_of([&] { learn(options, 0); }), "STATE_DAMAGED");
    CHECK_CODE(code_of([&] { codec_of(options, learn(options, kFew, kOneHead)); }), "STATE_MODEL_MISMATCH");
    CHECK_CODE(code_of([&] { codec_of(options, learn(options, kFew, {{64, 64}, {80, 128}, {128, 80}, {64, 64}})); }), "STATE_MODEL_MISMATCH");
    CHECK_CODE(code_of([&] { codec_of(options_of(kind, 4), book); }), "STATE_FOREIGN");
    CHECK_CODE(code_of([&] { codec_of(options_of(kind == Kind::vector ? Kind::product : Kind::vector, 8), book); }), "STATE_FOREIGN");
    Random random(check::state().seed);
    const RowRuns runs = make_runs(2, random);
    for (int round = 0; round < 1000 && check::clean(); round++) {
        const Bytes cut(book.begin(), book.begin() + random.between(0, int(book.size()) - 1));
        CHECK_CODE(code_of([&] { codec_of(options, cut); }), "STATE_DAMAGED");
        Bytes flipped = book;
        flipped[random.next() % (round % 2 ? outline : book.size())] ^= uint8_t(random.between(1, 255));
        const std::string code = code_of([&] {
            const VectorCodec codec = codec_of(options, flipped);
            check_finite(decoded(codec, encoded(codec, runs), runs));
        });
        if (round % 2) CHECK(!code.empty());
    }
}

static void check_options() {
    for (const auto& [kind, size] : {std::pair(Kind::vector, 0), {Kind::vector, 3}, {Kind::vector, 16}, {Kind::product, 0}, {Kind::product, 32}})
        CHECK_CODE(code_of([&, kind = kind, size = size] { VectorTraining(kShapes, options_of(kind, size), *select_kernels()); }), "OPTION_INVALID");
}

int main(int argc, char** argv) {
    check::begin(argc, argv);
    check::run("vector codec: errors fall with smaller parts", check_errors);
    check::run("vector codec: bytes are as many as they should be", check_sizes);
    check::run("vector codec: sizes that cut no head evenly are refused", check_options);
    for (const auto& [kind, size, name] : {std::tuple(Kind::vector, 4, "vectors"), {Kind::product, 16, "products"}}) {
        const auto run = [name = name](const std::string& what, const std::function<void()>& body) { check::run("vector codec: " + what + ", " + name, body); };
        const auto codec = [options = options_of(kind, size, 0.05f)] { return codec_of(options, learn(options)); };
        run("no row is farther off than the threshold", [kind = kind, size = size] { check_threshold(kind, size); });
        run("rows of any count come back", [&] { check_all_counts(codec(), 0.05 + 1e-6); });
        run("few rows, and those of odd numbers", [kind = kind, size = size] { check_odd_rows(kind, size); });
        run("damaged bytes are refused, or give rows of some value", [&] { check_damaged(codec()); });
        run("books are the same each time, and refused where they don't fit", [kind = kind] { check_books(kind); });
    }
    return check::finish();
}
