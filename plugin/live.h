// From JavaScript's handle of a context to what is behind it, or an error with a code.
#pragma once

#include <napi.h>

#include "AddonContext.h"
#include "adopt.h"
#include "memory_parts.h"

namespace deltastore {

inline AddonContext* unwrap(const Napi::Value& value) {
    return Napi::ObjectWrap<AddonContext>::Unwrap(value.As<Napi::Object>());
}

inline llama_context* live_context(AddonContext* addon) {
    if (addon->disposed || addon->ctx == nullptr) throw CodedError("DISPOSED", "The context is disposed or not initialised");
    return addon->ctx;
}

inline PackedMemory& live_memory(AddonContext* addon) {
    PackedMemory* memory = packed_memory(live_context(addon));
    if (memory == nullptr) throw CodedError("OPTION_INVALID", "The context has the stock cache");
    return *memory;
}

// The same as parts of the context's whole memory.
inline MemoryParts live_parts(AddonContext* addon) {
    live_memory(addon);
    return parts_of(live_context(addon)->get_memory());
}

}  // namespace deltastore
