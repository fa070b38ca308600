// Writes the keys and values of a ubatch into the rows that its plan has for them.
#pragma once

#include "pages/host_place.h"
#include "pages/sequence_table.h"
#include "plan.h"
#include "rows_view.h"

namespace deltastore {

class RowWriter {
public:
    RowWriter(const Layers& layers, bool rotate, const Kernels& kernels, const SequenceTable& sequences, const HostPlace& place, const Centres& centres)
        : layers_(layers), rotate_(rotate), kernels_(kernels), sequences_(sequences), place_(place), centres_(centres) {}

    // A thread's part of a layer's rows. Elements of rows that are rotated or coded become finite: NaN 0, others binary16's largest.
    void write(int layer, bool keys, const RowsView& rows, const Plan& plan, int thread, int threads) const;

private:
    const Layers& layers_;
    const bool rotate_;
    const Kernels& kernels_;
    const SequenceTable& sequences_;
    const HostPlace& place_;
    const Centres& centres_;
};

}  // namespace deltastore
