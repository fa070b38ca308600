#include "head_books.h"

#include <algorithm>
#include <cmath>

#include "half_rows.h"
#include "units.h"

namespace deltastore {

std::vector<HeadCut> cuts_of(const std::vector<HeadShape>& shapes, const CodecOptions& options) {
    const bool product = options.kind == CodecOptions::Kind::product;
    const int size = options.size;
    if (product ? size < 1 : size != 2 && size != 4 && size != 8)
        throw CodedError("OPTION_INVALID", std::to_string(size) + (product ? " is no number of parts" : " values can't share a code word: 2, 4 or 8 can"));
    std::vector<HeadCut> cuts;
    for (int table = 0; table < int(shapes.size()); table++)
        for (const bool keys : {true, false}) {
            const int dim = dims_of(shapes[table], keys);
            if (dim == 0) continue;
            if (dim % size != 0) throw CodedError("OPTION_INVALID", "A head of " + std::to_string(dim) + " values is no multiple of " + std::to_string(size));
            const int parts = product ? size : dim / size;
            cuts.push_back({table, keys, dim, parts, product ? parts : 1});
        }
    return cuts;
}

std::vector<float> HeadCut::vectors(const std::vector<float>& rows, int book) const {
    std::vector<float> vectors;
    vectors.reserve(rows.size() / books);
    for (auto row = rows.begin(); row != rows.end(); row += dim)
        for (int part = book; part < parts; part += books) vectors.insert(vectors.end(), row + part * part_dims(), row + (part + 1) * part_dims());
    return vectors;
}

static void subtract(std::vector<float>& rows, const std::vector<float>& mean) {
    for (size_t i = 0; i < rows.size(); i++) rows[i] -= mean[i % mean.size()];
}

HeadBooks::HeadBooks(const HeadCut& cut, Reader& reader) : cut_(cut), mean_(cut.dim) {
    float scale;
    read_halves(&scale, 1, reader);
    read_halves(mean_.data(), mean_.size(), reader);
    std::vector<float> words(size_t(CodeWords::kCount) * cut.part_dims());
    for (int book = 0; book < cut.books; book++) {
        read_halves(words.data(), words.size(), reader);
        for (float& value : words) value *= scale;
        words_.emplace_back(words, cut.part_dims());
    }
}

std::vector<uint8_t> HeadBooks::encode(const Kernels& kernels, const std::vector<float>& rows) const {
    std::vector<float> centred = rows;
    subtract(centred, mean_);
    std::vector<uint8_t> codes(rows.size() / cut_.part_dims()), found(codes.size() / cut_.books);
    for (int book = 0; book < cut_.books; book++) {
        words_[book].nearest(kernels, cut_.vectors(centred, book).data(), int(found.size()), found.data());
        // As the parts of a row that are of one book lie `books` apart, so do those of all rows.
        for (size_t i = 0; i < found.size(); i++) codes[i * cut_.books + book] = found[i];
    }
    return codes;
}

void HeadBooks::decode(const uint8_t* codes, float* row) const {
    for (int part = 0; part < cut_.parts; part++) words_[part % cut_.books].copy(codes[part], row + part * cut_.part_dims());
    for (int d = 0; d < cut_.dim; d++) row[d] += mean_[d];
}

void write_head_books(const Kernels& kernels, const HeadCut& cut, std::vector<float> rows, Writer& writer) {
    std::vector<float> mean(cut.dim);
    for (size_t i = 0; i < rows.size(); i++) mean[i % cut.dim] += rows[i] * float(cut.dim) / float(rows.size());
    for (float& value : mean) value = rounded_to_half(value);
    subtract(rows, mean);
    double sum = 0;
    for (float value : rows) sum += double(value) * value;
    const float scale = rounded_to_half(std::max(float(std::sqrt(sum / double(rows.size()))), 1e-6f));
    for (float& value : rows) value /= scale;
    write_halves(&scale, 1, writer);
    write_halves(mean.data(), mean.size(), writer);
    for (int book = 0; book < cut.books; book++) {
        const std::vector<float> words = k_means(kernels, cut.vectors(rows, book), cut.part_dims());
        write_halves(words.data(), words.size(), writer);
    }
}

}  // namespace deltastore
