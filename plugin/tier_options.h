// Tiers as ts/engine/native.ts has them (`NativeTier`, `Eviction`).
#pragma once

#include <napi.h>

#include "tiers/options.h"

namespace deltastore {

// Both throw CodedError(OPTION_INVALID).
Eviction eviction_of(const Napi::Object& config);
Tier tier_of(const Napi::Object& config);

}  // namespace deltastore
