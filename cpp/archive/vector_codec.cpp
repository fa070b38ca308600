#include "vector_codec.h"

#include <algorithm>
#include <cstring>

#include "half_rows.h"
#include "units.h"

namespace deltastore {

namespace {

constexpr char kBook[] = "DSVB";
constexpr uint32_t kBookVersion = 1;
// That a code book is learned from.
constexpr int kSampleVectors = 4096;

void read_outline(const std::vector<HeadShape>& shapes, const CodecOptions& options, Reader& reader) {
    char magic[4];
    reader.bytes(magic, sizeof magic);
    const uint32_t version = reader.number<uint32_t>();
    const uint8_t kind = reader.number<uint8_t>(), size = reader.number<uint8_t>();
    if (std::memcmp(magic, kBook, sizeof magic) != 0 || version != kBookVersion || kind != uint8_t(options.kind) || size != options.size)
        throw CodedError("STATE_FOREIGN", "The book is of another codec or version");
    const auto require = [&](int expected) {
        if (reader.number<uint32_t>() != uint32_t(expected)) throw CodedError("STATE_MODEL_MISMATCH", "The book is of a model of other shapes");
    };
    require(int(shapes.size()));
    for (const HeadShape& shape : shapes)
        for (const bool keys : {true, false}) require(dims_of(shape, keys));
}

bool is_far(const HeadBooks& books, const float* row, const uint8_t* codes, float threshold) {
    std::vector<float> found(books.cut().dim);
    books.decode(codes, found.data());
    double error = 0, length = 0;
    for (size_t d = 0; d < found.size(); d++) {
        error += double(row[d] - found[d]) * (row[d] - found[d]);
        length += double(row[d]) * row[d];
    }
    return error > threshold * length;
}

}  // namespace

VectorTraining::VectorTraining(const std::vector<HeadShape>& shapes, const CodecOptions& options, const Kernels& kernels)
    : shapes_(shapes), options_(options), kernels_(kernels) {
    for (const HeadCut& cut : cuts_of(shapes, options)) samples_.push_back({cut, size_t(std::max(1, kSampleVectors * cut.books / cut.parts)), 0, {}});
}

void VectorTraining::Sample::add(const std::vector<float>& rows, std::mt19937& random) {
    for (size_t begin = 0; begin < rows.size(); begin += cut.dim) {
        const size_t place = seen < most ? seen : random() % (seen + 1);
        seen++;
        if (place >= most) continue;
        halves.resize(std::max(halves.size(), (place + 1) * cut.dim));
        for (int d = 0; d < cut.dim; d++) halves[place * cut.dim + d] = float_to_half(rows[begin + d]);
    }
}

void VectorTraining::add(const RowRuns& runs) {
    const RunsByTable<const RowRun> tables(runs, int(shapes_.size()));
    for (Sample& sample : samples_)
        for (const RowRun* run : tables.of(sample.cut.table)) sample.add(sample.cut.keys ? run->keys : run->values, random_);
}

void VectorTraining::write(Writer& writer) const {
    writer.bytes(kBook, 4);
    writer.number(kBookVersion);
    writer.number(uint8_t(options_.kind));
    writer.number(options_.size);
    writer.number(uint32_t(shapes_.size()));
    for (const HeadShape& shape : shapes_)
        for (const bool keys : {true, false}) writer.number(uint32_t(dims_of(shape, keys)));
    for (const Sample& sample : samples_) {
        if (sample.seen == 0) throw CodedError("STATE_DAMAGED", "A head has no rows to learn from");
        std::vector<float> rows(sample.halves.size());
        std::transform(sample.halves.begin(), sample.halves.end(), rows.begin(), half_to_float);
        write_head_books(kernels_, sample.cut, std::move(rows), writer);
    }
}

VectorCodec::VectorCodec(const std::vector<HeadShape>& shapes, const CodecOptions& options, Reader& book, const Kernels& kernels)
    : tables_(int(shapes.size())), threshold_(options.threshold), kernels_(kernels) {
    const std::vector<HeadCut> cuts = cuts_of(shapes, options);
    read_outline(shapes, options, book);
    for (const HeadCut& cut : cuts) books_.emplace_back(cut, book);
}

void VectorCodec::encode_rows(const HeadBooks& books, const std::vector<float>& rows, bool fine, Writer& writer) const {
    const size_t dim = books.cut().dim, parts = books.cut().parts, count = rows.size() / dim;
    const std::vector<uint8_t> codes = fine ? std::vector<uint8_t>() : books.encode(kernels_, rows);
    std::vector<uint8_t> halves((count + 7) / 8);
    for (size_t r = 0; r < count; r++)
        if (fine || (threshold_ > 0 && is_far(books, &rows[r * dim], &codes[r * parts], threshold_))) halves[r / 8] |= uint8_t(1 << r % 8);
    writer.bytes(halves.data(), halves.size());
    for (size_t r = 0; r < count; r++) {
        if (halves[r / 8] >> r % 8 & 1) write_halves(&rows[r * dim], dim, writer);
        else writer.bytes(&codes[r * parts], parts);
    }
}

void VectorCodec::encode(const RowRuns& runs, bool fine, Writer& writer) const {
    const RunsByTable<const RowRun> tables(runs, tables_);
    for (const HeadBooks& books : books_)
        for (const RowRun* run : tables.of(books.cut().table)) encode_rows(books, books.cut().keys ? run->keys : run->values, fine, writer);
}

void VectorCodec::decode(RowRuns& runs, Reader& reader) const {
    const RunsByTable<RowRun> tables(runs, tables_);
    for (const HeadBooks& books : books_)
        for (RowRun* run : tables.of(books.cut().table)) {
            std::vector<float>& rows = books.cut().keys ? run->keys : run->values;
            const size_t dim = books.cut().dim, count = rows.size() / dim;
            std::vector<uint8_t> halves((count + 7) / 8), codes(books.cut().parts);
            reader.bytes(halves.data(), halves.size());
            for (size_t r = 0; r < count; r++) {
                float* row = &rows[r * dim];
                if (halves[r / 8] >> r % 8 & 1) {
                    read_halves(row, dim, reader);
                    continue;
                }
                reader.bytes(codes.data(), codes.size());
                books.decode(codes.data(), row);
            }
        }
}

}  // namespace deltastore
