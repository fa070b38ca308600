// Who else holds a page of a sequence: other sequences, and snapshots.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "sequence_table.h"

namespace deltastore {

// All under the cache's lock.
class Sharing {
public:
    explicit Sharing(SequenceTable& sequences) : sequences_(sequences) {}

    // Whether another sequence holds the page of a reference of the sequence's table. Snapshots don't count.
    bool shared(int sequence, int table, const PageRef& reference) const;
    // The end of the pages at the sequence's beginning that other sequences hold too, in any table.
    int32_t shared_end(int sequence) const;

    // Whose pages these are besides the sequences', for reading only, until release().
    void hold(const std::vector<PageTable>& tables);
    void release(std::vector<PageTable>& tables);

private:
    SequenceTable& sequences_;
    std::unordered_map<Page, uint32_t> held_;  // pages of snapshots, and how often they are
};

}  // namespace deltastore
