// The functions of ts/engine/native.ts for snapshots.
#pragma once

#include <napi.h>

namespace deltastore {

Napi::Value begin_snapshot(const Napi::CallbackInfo& info);
Napi::Value snapshot_blocks(const Napi::CallbackInfo& info);
Napi::Value end_snapshot(const Napi::CallbackInfo& info);
Napi::Value restore_snapshot(const Napi::CallbackInfo& info);

}  // namespace deltastore
