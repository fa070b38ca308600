// Rows in and out of pages as floats, for whatever is not the attention kernel's hot path.
#pragma once

#include <vector>

#include "format.h"
#include "kernels/kernels.h"

namespace deltastore {

// keys/values: [count][dim]. Packed keys get `centre` [key_dim] added back. Either target may be null.
void read_rows(const uint8_t* page, const PageLayout& layout, Format format, const HeadShape& shape, const float* centre, int first,
               int count, float* keys, float* values);

// The reverse, with the kernels' packing. A page of a packed format has kPageRows rows.
void write_keys(const Kernels& kernels, uint8_t* page, const PageLayout& layout, Format format, const HeadShape& shape,
                const float* centre, int first, int count, const float* keys);
void write_values(const Kernels& kernels, uint8_t* page, const PageLayout& layout, Format format, const HeadShape& shape, int first,
                  int count, const float* values);

// Copies one row between pages of a format, whatever else they hold.
void copy_row(Format format, const HeadShape& shape, const uint8_t* source, const PageLayout& source_layout, int source_row, uint8_t* target,
              const PageLayout& target_layout, int target_row);
// About the length of a row's value vector, to a factor that the format's rows have in common: packed rows give their scales'.
float value_norm(Format format, const HeadShape& shape, const uint8_t* page, const PageLayout& layout, int row);

}  // namespace deltastore
