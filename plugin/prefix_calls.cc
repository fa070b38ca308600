#include "prefix_calls.h"

#include "failure_report.h"
#include "live.h"
#include "prefixes.h"
#include "promise_worker.h"

namespace deltastore {

Napi::Value prefix_end(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const MemoryParts parts = live_parts(unwrap(info[0]));
        return Napi::Number::New(info.Env(), shared_end(parts, info[1].As<Napi::Number>().Int32Value(), info[2].As<Napi::Number>().Int32Value()));
    });
}

Napi::Value fork(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const MemoryParts parts = live_parts(unwrap(info[0]));
        const int source = info[1].As<Napi::Number>().Int32Value(), target = info[2].As<Napi::Number>().Int32Value();
        return failure_to_js(info.Env(), fork_prefix(parts, source, target, info[3].As<Napi::Number>().Int32Value()));
    });
}

Napi::Value state_bytes(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        return Napi::Number::New(info.Env(), double(bytes_of_state(live_parts(unwrap(info[0])), info[1].As<Napi::Number>().Int32Value())));
    });
}

Napi::Value kept_bytes(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const MemoryParts parts = live_parts(unwrap(info[0]));
        const Cache& cache = parts.packed()->cache();
        Napi::Object result = Napi::Object::New(info.Env());
        result.Set("rows", double(cache.kept_bytes()));
        result.Set("states", double(cache.state_bytes() + (parts.window ? parts.packed_window()->cache().kept_bytes() : 0)));
        return result;
    });
}

Napi::Value only_attention(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        return Napi::Boolean::New(info.Env(), live_parts(unwrap(info[0])).beside().empty());
    });
}

Napi::Value can_go_on(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const MemoryParts parts = live_parts(unwrap(info[0]));
        return Napi::Boolean::New(info.Env(), parts.why_not_behind(info[1].As<Napi::Number>().Int32Value(), info[2].As<Napi::Number>().Int32Value()).empty());
    });
}

}  // namespace deltastore
