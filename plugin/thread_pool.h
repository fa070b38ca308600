// Threads of one context that stay between batches. Without them ggml starts and ends its threads for every batch, and where a new
// thread begins on the processor of the one that waits for it, a token takes until the scheduler's next tick.
#pragma once

#include <memory>
#include <vector>

#include "llama_access.h"

namespace deltastore {

class ThreadPool {
public:
    // Sees to it that the context computes on a pool of at least that many threads. Not while it computes.
    void fit(llama_context& context, int threads);

private:
    // Outgrown ones stay: ggml's backend still pauses the one before when it gets the next.
    std::vector<std::unique_ptr<ggml_threadpool, void (*)(ggml_threadpool*)>> pools_;
    int threads_ = 1;  // one needs no pool
};

}  // namespace deltastore
