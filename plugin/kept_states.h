// What kept prefixes have beside their rows: the states of recurrent layers at their ends, as llama.cpp writes them.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "cache.h"
#include "llama_access.h"
#include "snapshot/snapshot.h"

namespace deltastore {

struct KeptState {
    llama_pos end;  // behind the last token that it is the state of
    Bytes bytes;
};

class KeptStates {
public:
    // The cache counts the states, and must outlive them.
    explicit KeptStates(Cache& cache) : cache_(cache) {}

    // In place of what the sequence had. Failure::pool_limit: then it has none. Throws std::bad_alloc.
    Failure keep(llama_seq_id sequence, KeptState state);
    void drop(llama_seq_id sequence);
    // Null if there is none.
    std::shared_ptr<const KeptState> of(llama_seq_id sequence) const;

private:
    Failure count();

    Cache& cache_;
    mutable std::mutex mutex_;
    std::map<llama_seq_id, std::shared_ptr<const KeptState>> states_;
};

}  // namespace deltastore
