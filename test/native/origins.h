// The origin of these tests' rows, and origins that differ from it in every part.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "snapshot/origin.h"

namespace deltastore {

inline constexpr uint64_t kFingerprint = 0x123456789abcdef0ull;  // of the model, for states from before there were origins
inline constexpr Origin kOrigin{0xfedcba9876543210ull, {10000, 0.25f, 1, 1.1f, 32, 1, 2048, 0}, 0x0123456789abcdefull};

// A cache's own.
struct Own {
    Origin origin = kOrigin;
    uint64_t fingerprint = kFingerprint;
};

struct OtherOrigin {
    Origin origin;
    std::string words;  // that tell of it
    bool positions;     // whether a fingerprint of version 1 tells it
};

inline std::vector<OtherOrigin> other_origins() {
    std::vector<OtherOrigin> all;
    const auto add = [&](const std::string& words, bool positions, auto change) {
        OtherOrigin other{kOrigin, words, positions};
        change(other.origin);
        all.push_back(other);
    };
    add("other weights, or other metadata of the model", false, [](Origin& o) { o.model ^= 1; });
    add("other adapters (LoRA), or other scales of them", false, [](Origin& o) { o.adapters ^= uint64_t(1) << 63; });
    add("other adapters (LoRA), or other scales of them", false, [](Origin& o) { o.adapters = 0; });
    add("other positions (rope base 10000, here 1000000.5)", true, [](Origin& o) { o.positions.rope_freq_base = 1000000.5f; });
    add("other positions (frequency scale 0.25, here 0.250001)", true, [](Origin& o) { o.positions.rope_freq_scale = 0.250001f; });
    add("other positions (YaRN's extrapolation factor 1, here -1)", true, [](Origin& o) { o.positions.yarn_ext_factor = -1; });
    add("other positions (YaRN's attention factor 1.1, here 1.1000001)", true, [](Origin& o) { o.positions.yarn_attn_factor = 1.1000001f; });
    add("other positions (YaRN's fast beta 32, here 31)", true, [](Origin& o) { o.positions.yarn_beta_fast = 31; });
    add("other positions (YaRN's slow beta 1, here 0)", true, [](Origin& o) { o.positions.yarn_beta_slow = 0; });
    add("other positions (YaRN's original context 2048, here 4096)", true, [](Origin& o) { o.positions.n_ctx_orig_yarn = 4096; });
    add("other positions (rope factors for short contexts, here for long ones)", false, [](Origin& o) { o.positions.long_factors = 1; });
    add("other weights, or other metadata of the model; other positions (rope base 10000, here 1, YaRN's original context 2048, here 1); "
        "other adapters (LoRA), or other scales of them", true, [](Origin& o) {
            o.model++;
            o.positions.rope_freq_base = 1;
            o.positions.n_ctx_orig_yarn = 1;
            o.adapters++;
        });
    return all;
}

// Where a state or a head has its origin, and its size.
inline constexpr size_t kOriginBegin = 8, kOriginBytes = 56;

// The same bytes with a fingerprint in place of the origin, and with this version.
inline std::vector<uint8_t> with_fingerprint(std::vector<uint8_t> bytes, uint32_t version, uint64_t fingerprint) {
    std::memcpy(bytes.data() + 4, &version, sizeof version);
    std::memcpy(bytes.data() + kOriginBegin, &fingerprint, sizeof fingerprint);
    bytes.erase(bytes.begin() + kOriginBegin + sizeof fingerprint, bytes.begin() + kOriginBegin + kOriginBytes);
    return bytes;
}

}  // namespace deltastore
