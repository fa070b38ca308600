// Code books of one table's keys or values.
#pragma once

#include "code_words.h"
#include "row_codec.h"

namespace deltastore {

// How rows are cut into parts of the same size.
struct HeadCut {
    int table = 0;
    bool keys = true;
    int dim = 0;  // of a row
    int parts = 0;
    int books = 0;  // one for all parts, or one for each: book b is of the parts b, b + books, …
    int part_dims() const { return dim / parts; }
    // A book's parts of all rows: [row][part of the book][part_dims]
    std::vector<float> vectors(const std::vector<float>& rows, int book) const;
};

// For each table its keys' and its values', where it stores any. Throws CodedError OPTION_INVALID.
std::vector<HeadCut> cuts_of(const std::vector<HeadShape>& shapes, const CodecOptions& options);

// Bytes: binary16 {root mean square of rows less their mean, mean [dim], words [book][word][part_dims], divided by that root}.
class HeadBooks {
public:
    // Throws CodedError STATE_DAMAGED.
    HeadBooks(const HeadCut& cut, Reader& reader);
    const HeadCut& cut() const { return cut_; }
    // rows: [row][dim]. Gives codes [row][part].
    std::vector<uint8_t> encode(const Kernels& kernels, const std::vector<float>& rows) const;
    // One row's.
    void decode(const uint8_t* codes, float* row) const;

private:
    HeadCut cut_;
    std::vector<float> mean_;       // [dim]
    std::vector<CodeWords> words_;  // [book]
};

// Learns books from rows [row][dim], one at least.
void write_head_books(const Kernels& kernels, const HeadCut& cut, std::vector<float> rows, Writer& writer);

}  // namespace deltastore
