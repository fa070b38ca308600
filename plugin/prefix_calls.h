// The functions of ts/engine/native.ts that share prefixes.
#pragma once

#include <napi.h>

namespace deltastore {

Napi::Value prefix_end(const Napi::CallbackInfo& info);
Napi::Value fork(const Napi::CallbackInfo& info);
Napi::Value state_bytes(const Napi::CallbackInfo& info);
Napi::Value kept_bytes(const Napi::CallbackInfo& info);
Napi::Value only_attention(const Napi::CallbackInfo& info);
Napi::Value can_go_on(const Napi::CallbackInfo& info);

}  // namespace deltastore
