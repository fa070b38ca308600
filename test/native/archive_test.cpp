// Frozen parts are what they were, but for the rows' errors; damaged ones are refused or still safe to restore.
#include "archive/codecs.h"
#include "archive/eigenvectors.h"
#include "archive/frozen_part.h"
#include "archive/part_rows.h"
#include "archive/transform_codec.h"
#include "archive/transform_training.h"
#include "stored_snapshot.h"

using namespace deltastore;

namespace {

std::vector<ByteSpan> spans(const std::vector<Bytes>& all) {
    std::vector<ByteSpan> spans;
    for (const Bytes& bytes : all) spans.push_back(span(bytes));
    return spans;
}

// A saved sequence, and a book of its own rows.
struct Archived {
    // `change` gives the sequence to save.
    Archived(Format format, bool evicts, int tokens, const std::function<int(CacheModel&)>& change = [](CacheModel&) { return 0; })
        : options(make_options(format, evicts)), model(options, *select_kernels(), 7) {
        model.add(0, tokens);
        if (evicts) model.evict(0, *options.eviction, true);
        sequence = change(model);
        stored = std::make_unique<Stored>(model, sequence);
        head = std::make_unique<StoredHead>(span(stored->head), spans(stored->centres));
        const auto training = make_training({}, *head, {});
        for (const Bytes& block : stored->blocks) training->add(rows_of(*head, read_part(*head, span(block)), *select_kernels()));
        Writer writer = writer_to(book);
        training->write(writer);
    }
    std::unique_ptr<RowCodec> codec(float ratio) const {
        CodecOptions options;
        options.ratio = ratio;
        return make_codec(options, *head, span(book));
    }
    std::vector<Bytes> parts() const {
        std::vector<Bytes> all = stored->blocks;
        all.push_back(stored->tail);
        return all;
    }
    CacheOptions options;
    CacheModel model;
    int sequence;
    std::unique_ptr<Stored> stored;
    std::unique_ptr<StoredHead> head;
    Bytes book;
};

constexpr auto kTransform = CodecOptions::Kind::transform;

Bytes freeze_part(const StoredHead& head, const RowCodec& codec, CodecOptions::Kind kind, bool fine, ByteSpan bytes) {
    return freeze_parts(head, codec, kind, fine, {bytes}).front();
}
Bytes thaw_part(const StoredHead& head, const RowCodec& codec, CodecOptions::Kind kind, ByteSpan bytes) {
    return thaw_parts(head, codec, kind, {bytes}).front();
}

// The squared error of keys and values over their squared size.
double error_of(const Archived& archived, const Bytes& before, const Bytes& after) {
    const RowRuns a = rows_of(*archived.head, read_part(*archived.head, span(before)), *select_kernels());
    const RowRuns b = rows_of(*archived.head, read_part(*archived.head, span(after)), *select_kernels());
    CHECK_EQUAL(a.size(), b.size());
    double error = 0, size = 1e-30;
    const auto add = [&](const std::vector<float>& x, const std::vector<float>& y) {
        for (size_t i = 0; i < x.size(); i++) {
            error += (x[i] - y[i]) * (x[i] - y[i]);
            size += x[i] * x[i];
        }
    };
    for (size_t i = 0; i < a.size(); i++) {
        CHECK(a[i].table == b[i].table && a[i].positions == b[i].positions);
        add(a[i].keys, b[i].keys);
        add(a[i].values, b[i].values);
    }
    return error / size;
}

void check_parts(Format format, bool evicts) {
    const Archived archived(format, evicts, 400);
    for (const Bytes& bytes : archived.parts()) CHECK(write_part(*archived.head, read_part(*archived.head, span(bytes))) == bytes);
}

void check_frozen(Format format, bool evicts) {
    Archived archived(format, evicts, 600);
    const auto fine = archived.codec(1.5f), coarse = archived.codec(6);
    Stored thawed = *archived.stored;
    double fine_error = 0, coarse_error = 0;
    size_t before = 0, after = 0;
    const auto back = [&](const Bytes& bytes) {
        const Bytes frozen = freeze_part(*archived.head, *fine, kTransform, true, span(bytes));
        CHECK(frozen == freeze_part(*archived.head, *fine, kTransform, true, span(bytes)));
        if (frozen == bytes) return bytes;
        return thaw_part(*archived.head, *fine, kTransform, span(frozen));
    };
    for (size_t i = 0; i < thawed.blocks.size(); i++) {
        const Bytes& block = archived.stored->blocks[i];
        thawed.blocks[i] = back(block);
        CHECK_EQUAL(thawed.blocks[i].size(), block.size());
        fine_error = std::max(fine_error, error_of(archived, block, thawed.blocks[i]));
        const Bytes frozen = freeze_part(*archived.head, *coarse, kTransform, false, span(block));
        before += block.size();
        after += frozen.size();
        if (frozen != block) coarse_error = std::max(coarse_error, error_of(archived, block, thaw_part(*archived.head, *coarse, kTransform, span(frozen))));
    }
    thawed.tail = back(archived.stored->tail);
    // Parts together are what they are one by one.
    const std::vector<Bytes> all = freeze_parts(*archived.head, *coarse, kTransform, false, spans(archived.stored->blocks));
    for (size_t i = 0; i < all.size(); i++) CHECK(all[i] == freeze_part(*archived.head, *coarse, kTransform, false, span(archived.stored->blocks[i])));
    // What packing loses again is the tier's own error.
    const double own = format == Format::f16 ? 1e-4 : format == Format::k4v4 ? 0.03 : 0.15;
    CHECK_AT_MOST(fine_error, own);
    CHECK_AT_MOST(coarse_error, 1.2);
    CHECK(after < before);
    CHECK_CODE(restore(archived.model, 1, thawed, true, archived.model.cache.table().tokens(0)), "");
}

// Pages of which a sequence has some rows only: cut behind, shared in part, begun in their middle. Refined rows beside those are not the sequence's.
void check_cut_pages(Format format) {
    const auto come_back = [](Archived& archived) {
        const auto codec = archived.codec(2);
        const std::vector<Bytes> frozen = freeze_parts(*archived.head, *codec, kTransform, true, spans(archived.stored->blocks));
        Stored thawed = *archived.stored;
        for (size_t i = 0; i < frozen.size(); i++)
            if (frozen[i] != thawed.blocks[i]) thawed.blocks[i] = thaw_part(*archived.head, *codec, kTransform, span(frozen[i]));
        CHECK(frozen != archived.stored->blocks);
        CHECK_CODE(restore(archived.model, 3, thawed, true, archived.model.cache.table().tokens(archived.sequence)), "");
    };
    for (int end = 290; end < 420; end += 17) {
        Archived cut(format, false, 600, [end](CacheModel& model) {
            model.erase(0, end, INT32_MAX);
            return 0;
        });
        come_back(cut);
        Archived shared(format, false, 600, [end](CacheModel& model) {
            CHECK(model.fork(0, 1, 0, end) == Failure::none);
            return 1;
        });
        come_back(shared);
        Archived shifted(format, false, 600, [end](CacheModel& model) {
            model.erase(0, 30, end - 200);
            model.shift(0, end - 200, INT32_MAX, 230 - end);
            CHECK(model.apply_shifts() == Failure::none);
            return 0;
        });
        come_back(shifted);
    }
}

void check_damage(Format format, bool evicts) {
    Archived archived(format, evicts, 200);
    const auto codec = archived.codec(3);
    Random random(5);
    const std::vector<Bytes> parts = archived.parts();
    for (int round = 0; round < check::rounds(500); round++) {
        const size_t index = size_t(random.between(0, int(parts.size()) - 1));
        const Bytes& part = parts[index];
        Bytes frozen = freeze_part(*archived.head, *codec, kTransform, true, span(part));
        if (frozen == part) continue;
        if (random.chance(0.3)) frozen.resize(size_t(random.between(0, int(frozen.size()) - 1)));
        else frozen[size_t(random.between(0, int(frozen.size()) - 1))] ^= uint8_t(1 << random.between(0, 7));
        Stored changed = *archived.stored;
        try {
            const Bytes thawed = thaw_part(*archived.head, *codec, kTransform, span(frozen));
            (index < changed.blocks.size() ? changed.blocks[index] : changed.tail) = thawed;
        } catch (const CodedError&) {
            continue;
        }
        restore(archived.model, 1, changed, true);  // refused or not, it must come back
    }
}

void check_books() {
    const Archived archived(Format::k4v4, false, 300);
    const auto opened = [&](const StoredHead& head, const Bytes& book) {
        try {
            CodecOptions options;
            options.ratio = 8;
            make_codec(options, head, span(book));
            return std::string();
        } catch (const CodedError& error) {
            return std::string(error.code());
        }
    };
    CHECK_CODE(opened(*archived.head, archived.book), "");
    CacheOptions others = archived.options;
    others.layers.pop_back();
    CacheModel model(others, *select_kernels(), 7);
    model.add(0, 100);
    const Stored stored(model, 0);
    CHECK_CODE(opened(StoredHead(span(stored.head), spans(stored.centres)), archived.book), "STATE_MODEL_MISMATCH");
    Bytes foreign = archived.book;
    foreign[4] = 9;
    CHECK_CODE(opened(*archived.head, foreign), "STATE_FOREIGN");
    Random random(3);
    for (int round = 0; round < 100; round++) {
        Bytes cut(archived.book.begin(), archived.book.begin() + random.between(0, int(archived.book.size()) - 1));
        CHECK(!opened(*archived.head, cut).empty());
        Bytes longer = archived.book;
        longer.push_back(0);
        CHECK_CODE(opened(*archived.head, longer), "STATE_DAMAGED");
        Bytes flipped = archived.book;
        flipped[size_t(random.between(0, int(flipped.size()) - 1))] ^= uint8_t(1 << random.between(0, 7));
        opened(*archived.head, flipped);  // refused, or of no harm
    }
}

// Higher ratios give smaller parts.
void check_ratios() {
    const Archived archived(Format::f16, false, 600);
    size_t last = SIZE_MAX;
    for (float ratio : {2.0f, 4.0f, 8.0f, 16.0f}) {
        size_t bytes = 0;
        for (const Bytes& block : archived.stored->blocks) bytes += freeze_part(*archived.head, *archived.codec(ratio), kTransform, false, span(block)).size();
        CHECK(bytes < last);
        last = bytes;
    }
}

// Rows of few dimensions in truth take few bits.
void check_axes() {
    Random random(9);
    CacheOptions options;
    options.layers = {{4, 4, {64, 64}}};
    options.format = options.window_format = Format::f16;
    options.max_sequences = 1;
    CacheModel model(options, *select_kernels(), 7);
    model.add(0, 64);
    const Stored stored(model, 0);
    const StoredHead head(span(stored.head), {});
    const std::vector<float> basis = random.gaussians(3 * 64);
    const auto rows = [&](int count) {
        RowRuns runs;
        const std::vector<float> factors = random.gaussians(size_t(count) * 3);
        for (int table = 0; table < 4; table++) {
            RowRun run{table, {}, std::vector<float>(size_t(count) * 64), std::vector<float>(size_t(count) * 64)};
            for (int r = 0; r < count; r++) {
                run.positions.push_back(r);
                for (int d = 0; d < 64; d++)
                    for (int f = 0; f < 3; f++) {
                        run.keys[r * 64 + d] += factors[r * 3 + f] * basis[f * 64 + d];
                        run.values[r * 64 + d] += factors[r * 3 + f] * basis[f * 64 + (d + table) % 64];
                    }
            }
            runs.push_back(run);
        }
        return runs;
    };
    const uint8_t none = 0;
    TransformTraining training(head, {&none, 0}, *select_kernels());  // as of a model whose keys don't turn by one position
    for (int i = 0; i < 20; i++) training.add(rows(64));
    Bytes book, coded;
    Writer book_writer = writer_to(book), writer = writer_to(coded);
    training.write(book_writer);
    SpanReader book_span(span(book));
    Reader reader = book_span.reader();
    CodecOptions transform;
    transform.ratio = 16;
    const TransformCodec codec(head, transform, reader, *select_kernels());
    const RowRuns before = rows(64);
    codec.encode(before, false, writer);
    RowRuns after = before;
    for (RowRun& run : after) {
        std::fill(run.keys.begin(), run.keys.end(), 0.0f);
        std::fill(run.values.begin(), run.values.end(), 0.0f);
    }
    SpanReader coded_span(span(coded));
    Reader coded_reader = coded_span.reader();
    codec.decode(after, coded_reader);
    coded_span.finish();
    double error = 0, size = 0;
    for (size_t i = 0; i < before.size(); i++)
        for (size_t e = 0; e < before[i].keys.size(); e++) {
            error += std::pow(before[i].keys[e] - after[i].keys[e], 2) + std::pow(before[i].values[e] - after[i].values[e], 2);
            size += std::pow(before[i].keys[e], 2) + std::pow(before[i].values[e], 2);
        }
    CHECK_AT_MOST(error / size, 0.001);
    CHECK_AT_MOST(double(coded.size()), 64.0 * 4 * 128 * 2 / 16);
}

void check_eigenvectors() {
    Random random(2);
    for (int n : {1, 2, 3, 17, 96}) {
        std::vector<double> matrix(size_t(n) * n);
        for (int i = 0; i < n; i++)
            for (int j = 0; j <= i; j++) matrix[size_t(i) * n + j] = matrix[size_t(j) * n + i] = random.gaussian();
        const Eigenvectors found = eigenvectors(matrix, n);
        for (int k = 0; k < n; k++) {
            const double* vector = &found.vectors[size_t(k) * n];
            if (k > 0) CHECK_AT_MOST(found.values[k], found.values[k - 1]);
            double length = 0, worst = 0;
            for (int i = 0; i < n; i++) {
                double product = 0;
                for (int j = 0; j < n; j++) product += matrix[size_t(i) * n + j] * vector[j];
                worst = std::max(worst, std::abs(product - found.values[k] * vector[i]));
                length += vector[i] * vector[i];
            }
            CHECK_AT_MOST(worst, 1e-10 * n);
            CHECK_AT_MOST(std::abs(length - 1), 1e-12 * n);
        }
    }
    for (double value : eigenvectors(std::vector<double>(25), 5).values) CHECK_EQUAL(value, 0.0);
}

void check_symbols() {
    Random random(4);
    const GaussianTables tables = GaussianTables::computed();
    for (int width = kLeastClass; width <= kWidest; width++) {
        RangeEncoder encoder;
        std::vector<int32_t> values;
        const double deviation = std::exp2(std::min(width, 120) / double(kOctave));
        for (int i = 0; i < 2000; i++) values.push_back(int32_t(std::lround(random.gaussian() * deviation * (random.chance(0.01) ? 20 : 1))));
        for (int32_t value : {0, 1, -1, GaussianTables::kMostValue, -GaussianTables::kMostValue}) values.push_back(value);
        for (int32_t& value : values) {
            value = std::clamp(value, -GaussianTables::kMostValue, GaussianTables::kMostValue);
            tables.put(encoder, width, value);
        }
        Bytes bytes;
        Writer writer = writer_to(bytes);
        encoder.write(writer);
        SpanReader bytes_span(span(bytes));
        Reader reader = bytes_span.reader();
        RangeDecoder decoder(1 << 20, reader);
        for (int32_t value : values) CHECK_EQUAL(tables.get(decoder, width), value);
        decoder.finish();
        bytes_span.finish();
        const double bits = bytes.size() * 8.0 / double(values.size());
        CHECK_AT_MOST(bits, tables.bits(width) * 1.1 + 0.5);
        if (!check::clean()) break;
    }
}

void check_turns() {
    Random random(6);
    std::vector<TurnedPair> pairs, halves;
    for (int i = 0; i < 16; i++) {
        pairs.push_back({uint16_t(2 * i), uint16_t(2 * i + 1), float(std::pow(10000.0, -i / 16.0))});
        halves.push_back({uint16_t(i), uint16_t(i + 16), float(std::pow(500.0, -i / 16.0))});
    }
    Bytes bytes;
    Writer writer = writer_to(bytes);
    KeyTurns({pairs, halves, pairs}).write(writer);
    SpanReader bytes_span(span(bytes));
    Reader reader = bytes_span.reader();
    const KeyTurns turns = KeyTurns::read({32, 32, 48}, reader);
    bytes_span.finish();
    const std::vector<int32_t> positions{0, 1, 77, 100000};
    for (int layer = 0; layer < 3; layer++) {
        const int dim = layer == 2 ? 48 : 32;
        const std::vector<float> keys = random.gaussians(positions.size() * dim);
        std::vector<float> turned = keys;
        KeyTurns::Angles angles;
        turns.turn(layer, 1, positions, dim, turned.data(), angles);
        const double angle = double((layer == 1 ? halves : pairs)[3].angle) * 77;
        const int first = layer == 1 ? 3 : 6, second = layer == 1 ? 19 : 7;
        CHECK_AT_MOST(std::abs(turned[2 * dim + first] - (keys[2 * dim + first] * std::cos(angle) - keys[2 * dim + second] * std::sin(angle))), 1e-5);
        turns.turn(layer, -1, positions, dim, turned.data(), angles);
        for (size_t i = 0; i < keys.size(); i++) CHECK_AT_MOST(std::abs(turned[i] - keys[i]), 1e-5);
    }
}

}  // namespace

int main(int argc, char** argv) {
    check::begin(argc, argv);
    check::run("principal axes of symmetric matrices", check_eigenvectors);
    check::run("coded symbols come back, in as many bits as their tables say", check_symbols);
    check::run("keys turn forth and back", check_turns);
    check::run("rows of few dimensions take few bits", check_axes);
    for (Format format : kTierFormats)
        for (bool evicts : {false, true}) {
            if (format == Format::f16 && evicts) continue;
            const std::string of = std::string(" of ") + format_info(format).name + (evicts ? " with evicted rows" : "");
            check::run("parts are read and written" + of, [=] { check_parts(format, evicts); });
            check::run("parts are frozen and thawed" + of, [=] { check_frozen(format, evicts); });
            check::run("damaged frozen parts" + of, [=] { check_damage(format, evicts); });
        }
    for (Format format : kTierFormats) check::run(std::string("pages of which a part is held, of ") + format_info(format).name, [=] { check_cut_pages(format); });
    check::run("higher ratios make smaller parts", check_ratios);
    check::run("books of other models, or damaged", check_books);
    return check::finish();
}
