// Which earlier rows a token attends to, in layers with sliding-window attention.
#pragma once

#include <algorithm>
#include <cstdint>

#include "format/format.h"

namespace deltastore {

struct SlidingWindow {
    // Rows that no later token sees and that are kept all the same, since a chat goes back by some.
    static constexpr int32_t kWayBack = 256;

    int32_t tokens = 0;      // that a token sees, itself among them; 0: all before it
    bool chunked = false;    // the window begins anew every `tokens` tokens (Llama 4), and doesn't slide
    bool keeps_all = false;  // no row is dropped, so that sequences can go back to any position

    bool sees_all() const { return tokens == 0; }

    // The first position that the token at `position` sees.
    int32_t first_seen(int32_t position) const {
        if (sees_all()) return 0;
        return chunked ? position / tokens * tokens : std::max(0, position - tokens + 1);
    }

    // The first position that a sequence keeps once `end` tokens are computed. Rows go by whole pages, which begin behind the `sinks`.
    int32_t first_kept(int32_t end, int sinks) const {
        const int32_t behind = first_seen(end) - kWayBack - sinks;
        return sees_all() || keeps_all || behind < kPageRows ? 0 : behind / kPageRows * kPageRows + sinks;
    }

    // Cells of llama.cpp's own cache for a sequence of `tokens`: they are for a window and a batch, and a multiple of 256.
    size_t stock_cells(size_t tokens, size_t batch) const {
        return sees_all() || keeps_all ? tokens : std::min(tokens, (size_t(this->tokens) + batch + 255) / 256 * 256);
    }

    // The most rows of `tokens` that first_kept() keeps.
    size_t most_kept(size_t tokens) const {
        return sees_all() || keeps_all ? tokens : std::min(tokens, size_t(this->tokens) + kWayBack + 2 * kPageRows);
    }
};

}  // namespace deltastore
