// The rows of a stored part as floats, and back into its pages.
#pragma once

#include "kernels/kernels.h"
#include "row_codec.h"
#include "stored_parts.h"

namespace deltastore {

// A sequence's first rows, which attention reads more than all others (Xiao et al. 2023, arXiv 2309.17453): no codec has them, unless they are packed.
inline constexpr int kFirstRows = 4;
// Rows of a page that stay as they are: sinks, and the first rows of a page that is not coded.
int rows_as_they_are(const StoredPage& page);
inline int archived_rows(const StoredPage& page) { return page.reference.count - rows_as_they_are(page); }
// Of those that a codec has.
std::vector<int32_t> archived_positions(const StoredPage& page);

// Of all pages that a codec has. Throws CodedError STATE_DAMAGED.
RowRuns rows_of(const StoredHead& head, const StoredPart& part, const Kernels& kernels);
// Packs rows into those pages, which have everything else: other rows, gaps, and the numbers of refined rows.
void put_rows(const StoredHead& head, const RowRuns& runs, const Kernels& kernels, StoredPart& part);

}  // namespace deltastore
