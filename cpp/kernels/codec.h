// Rows in and out of pages as floats, for whatever is not the attention kernel's hot path.
#pragma once

#include <vector>

#include "format/format.h"
#include "kernels.h"

namespace deltastore {

// keys/values: [count][dim]. Coded keys, and latent values, get `centre` [key_dim] added back, if there is one. Either target may be null.
void read_rows(const uint8_t* page, const PageLayout& layout, Format format, const HeadShape& shape, const float* centre, int first,
               int count, float* keys, float* values);

// The reverse, with the kernels' packing. Latent values are left out.
void write_keys(const Kernels& kernels, uint8_t* page, const PageLayout& layout, Format format, const HeadShape& shape,
                const float* centre, int first, int count, const float* keys);
void write_values(const Kernels& kernels, uint8_t* page, const PageLayout& layout, Format format, const HeadShape& shape, int first,
                  int count, const float* values);

// Codes what the codes of `count` packed rows' values leave; the page has room for as many refined rows. values: [value_dim] of the page's
// row `first` and those behind it. Takes no memory: the cache does it on ggml's threads.
void refine_rows(const Kernels& kernels, uint8_t* page, const PageLayout& layout, Format format, const HeadShape& shape, const int* rows,
                 int count, const float* values, int first = 0);
int refined_rows(const uint8_t* page, const PageLayout& layout);
// Forgets those of rows from `first` on, which others may be written over.
void unrefine_rows(uint8_t* page, const PageLayout& layout, const HeadShape& shape, int first);

// Copies one row between pages of a format, whatever else they hold; refined if there is room.
void copy_row(Format format, const HeadShape& shape, const uint8_t* source, const PageLayout& source_layout, int source_row, uint8_t* target,
              const PageLayout& target_layout, int target_row);
// About the length of a row's value vector, to a factor that the format's rows have in common: coded rows give their scales'.
float value_norm(Format format, const HeadShape& shape, const uint8_t* page, const PageLayout& layout, int row);

}  // namespace deltastore
