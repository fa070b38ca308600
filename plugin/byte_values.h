// Bytes between JavaScript and the engine.
#pragma once

#include <napi.h>

#include <utility>
#include <vector>

#include "snapshot/snapshot.h"

namespace deltastore {

// Without copying, where the runtime has buffers of memory that is not its own.
inline Napi::Buffer<uint8_t> give(Napi::Env env, Bytes&& bytes) {
    Bytes* owned = new Bytes(std::move(bytes));
    return Napi::Buffer<uint8_t>::NewOrCopy(env, owned->data(), owned->size(), [](Napi::Env, uint8_t*, Bytes* owned) { delete owned; }, owned);
}

inline Napi::Array give_all(Napi::Env env, std::vector<Bytes>& parts) {
    Napi::Array array = Napi::Array::New(env, parts.size());
    for (size_t i = 0; i < parts.size(); i++) array.Set(uint32_t(i), give(env, std::move(parts[i])));
    return array;
}

// No data for null. The bytes stay JavaScript's.
inline ByteSpan span_of(const Napi::Value& value) {
    if (!value.IsTypedArray()) return {};
    const Napi::Uint8Array array = value.As<Napi::Uint8Array>();
    return {array.Data(), array.ByteLength()};
}

inline std::vector<ByteSpan> spans_of(const Napi::Value& value) {
    const Napi::Array array = value.As<Napi::Array>();
    std::vector<ByteSpan> spans;
    for (uint32_t i = 0; i < array.Length(); i++) spans.push_back(span_of(array.Get(i)));
    return spans;
}

}  // namespace deltastore
