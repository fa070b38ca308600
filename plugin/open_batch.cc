#include "open_batch.h"

#include <new>

#include "packed_memory.h"

namespace deltastore {

OpenBatch::~OpenBatch() {
    memory_.cache().abandon();
}

bool OpenBatch::start() {
    try {
        memory_.cache().start(step_, threads_);
        return true;
    } catch (const std::bad_alloc&) {
        memory_.fail(Failure::out_of_memory);
        return false;
    }
}

// What could not be packed or dropped for want of memory is, after the next ubatch.
void OpenBatch::finish() {
    try {
        memory_.cache().finish();
    } catch (const std::bad_alloc&) {  // it would pass llama.cpp's frames
    }
    step_++;
}

llama_kv_cache::slot_info_vec_t dummy_slots(const std::vector<llama_ubatch>& ubatches) {
    llama_kv_cache::slot_info_vec_t slots(ubatches.size());
    for (size_t u = 0; u < ubatches.size(); u++) {
        slots[u].s0 = slots[u].s1 = 0;
        slots[u].resize(1);
        slots[u].strm[0] = 0;
        slots[u].idxs[0].assign(ubatches[u].n_tokens, 0);
    }
    return slots;
}

}  // namespace deltastore
