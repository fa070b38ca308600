// A batch while llama.cpp computes it.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "llama_access.h"

namespace deltastore {

class PackedMemory;

// The rows of a batch's ubatches, one computed at a time. Its end drops those that were not.
class OpenBatch {
public:
    OpenBatch(PackedMemory& memory, std::unique_lock<std::mutex> computing, int threads)
        : computing_(std::move(computing)), memory_(memory), threads_(threads) {}
    OpenBatch(const OpenBatch&) = delete;
    OpenBatch& operator=(const OpenBatch&) = delete;
    ~OpenBatch();

    // Makes the next ubatch the current one. False if there was no memory; the packed memory then knows.
    bool start();
    // The current ubatch is computed.
    void finish();

private:
    const std::unique_lock<std::mutex> computing_;
    PackedMemory& memory_;
    const int threads_;
    int step_ = 0;
};

// A batch, cut by `split` until that gives no tokens.
template <class Split>
std::vector<llama_ubatch> cut_batch(llama_batch_allocr& balloc, const Split& split) {
    balloc.split_reset();
    std::vector<llama_ubatch> ubatches;
    for (;;) {
        llama_ubatch ubatch = split();
        if (ubatch.n_tokens == 0) return ubatches;
        ubatches.push_back(std::move(ubatch));
    }
}

// The single cell that llama.cpp sees, for each token.
llama_kv_cache::slot_info_vec_t dummy_slots(const std::vector<llama_ubatch>& ubatches);

}  // namespace deltastore
