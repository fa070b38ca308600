// Arithmetic on rows of logits (rows x vocabulary size), for judging caches: in double precision and off the event loop.
#pragma once

#include <napi.h>

namespace deltastore {

// scoreLogits and compareLogits of ts/engine/native.ts.
Napi::Value score_logits(const Napi::CallbackInfo& info);
Napi::Value compare_logits(const Napi::CallbackInfo& info);

}  // namespace deltastore
