// Moves what stays of a sequence's rows into pages of their own.
#pragma once

#include <functional>

#include "judged.h"
#include "pages/sequence_table.h"

namespace deltastore {

// All under the cache's lock.
class RowMover {
public:
    explicit RowMover(SequenceTable& sequences) : sequences_(sequences) {}

    enum class Part {
        fixed,   // stays as it is
        shared,  // does too, since others hold it
        judged   // may go: its rows are the next of the table's Judged
    };
    struct Moved {
        bool whole;              // false: there was no memory for all that should have gone
        int32_t first_watched;   // of the rows that go on to be judged by what is watched
    };
    // `part_of(table, reference)` tells what may happen to a reference.
    Moved move(int sequence, const std::vector<Judged>& tables, const std::function<Part(int table, const PageRef& reference)>& part_of);

private:
    struct Rewrite;
    void move_rows(int table, const PageRef& reference, const char* stays, const float* means, Rewrite& rewrite);

    SequenceTable& sequences_;
};

}  // namespace deltastore
