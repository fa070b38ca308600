#include "kept_states.h"

#include <utility>

namespace deltastore {

Failure KeptStates::keep(llama_seq_id sequence, KeptState state) {
    std::lock_guard<std::mutex> guard(mutex_);
    states_[sequence] = std::make_shared<const KeptState>(std::move(state));
    const Failure failure = count();
    if (failure == Failure::none) return failure;
    states_.erase(sequence);
    count();
    return failure;
}

void KeptStates::drop(llama_seq_id sequence) {
    std::lock_guard<std::mutex> guard(mutex_);
    if (states_.erase(sequence) > 0) count();
}

std::shared_ptr<const KeptState> KeptStates::of(llama_seq_id sequence) const {
    std::lock_guard<std::mutex> guard(mutex_);
    const auto found = states_.find(sequence);
    return found == states_.end() ? nullptr : found->second;
}

Failure KeptStates::count() {
    size_t bytes = 0;
    for (const auto& [sequence, state] : states_)
        if (state != nullptr) bytes += sizeof(KeptState) + state->bytes.capacity();
    return cache_.set_state_bytes(bytes);
}

}  // namespace deltastore
