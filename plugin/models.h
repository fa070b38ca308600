// The functions of ts/engine/native.ts that know a model without a context.
#pragma once

#include <napi.h>

namespace deltastore {

Napi::Value outline_model_of(const Napi::CallbackInfo& info);
Napi::Value forecast(const Napi::CallbackInfo& info);

}  // namespace deltastore
