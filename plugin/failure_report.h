// A failure as JavaScript gets it: null, or its code, message and missing bytes (NativeFailure of ts/engine/native.ts).
#pragma once

#include <napi.h>

#include "packed_memory.h"

namespace deltastore {

inline Napi::Value failure_to_js(Napi::Env env, const FailureReport& report) {
    if (report.code.empty()) return env.Null();
    Napi::Object result = Napi::Object::New(env);
    result.Set("code", report.code);
    result.Set("message", report.message);
    result.Set("missingBytes", double(report.missing_bytes));
    return result;
}

}  // namespace deltastore
