// The functions of ts/engine/native.ts for cold conversations.
#pragma once

#include <napi.h>

namespace deltastore {

Napi::Value key_turns(const Napi::CallbackInfo& info);
Napi::Value begin_training(const Napi::CallbackInfo& info);
Napi::Value add_training(const Napi::CallbackInfo& info);
Napi::Value end_training(const Napi::CallbackInfo& info);
Napi::Value open_book(const Napi::CallbackInfo& info);
Napi::Value freeze_parts(const Napi::CallbackInfo& info);
Napi::Value thaw_parts(const Napi::CallbackInfo& info);

}  // namespace deltastore
