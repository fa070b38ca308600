#include "snapshots.h"

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "beside_state.h"
#include "byte_values.h"
#include "live.h"
#include "prefixes.h"
#include "promise_worker.h"

namespace deltastore {

namespace {

using SnapshotHandle = Napi::External<std::shared_ptr<Snapshot>>;

std::shared_ptr<Snapshot> snapshot_of(const Napi::Value& value) {
    const std::shared_ptr<Snapshot> snapshot = *value.As<SnapshotHandle>().Data();
    if (snapshot == nullptr) throw CodedError("DISPOSED", "The snapshot has ended");
    return snapshot;
}

Napi::Buffer<uint8_t> copy_of(Napi::Env env, const Bytes& bytes) {
    return Napi::Buffer<uint8_t>::Copy(env, bytes.data(), bytes.size());
}

Napi::Buffer<uint8_t> copy_of(Napi::Env env, const std::vector<PartIdentity>& identities) {
    return Napi::Buffer<uint8_t>::Copy(env, reinterpret_cast<const uint8_t*>(identities.data()), identities.size() * sizeof(PartIdentity));
}

Napi::Array copies_of(Napi::Env env, const std::vector<Bytes>& parts) {
    Napi::Array array = Napi::Array::New(env, parts.size());
    for (size_t i = 0; i < parts.size(); i++) array.Set(uint32_t(i), copy_of(env, parts[i]));
    return array;
}

// The state beside the attention, if there is any, and then the snapshot's own tail.
Bytes whole_tail(const Bytes& own, const MemoryParts& parts, llama_seq_id sequence) {
    if (parts.beside().empty()) return own;
    Bytes whole = beside_state(parts, sequence);
    whole.insert(whole.end(), own.begin(), own.end());
    return whole;
}

// Takes the state beside the attention from the front of a tail.
Bytes take_beside(ByteSpan& tail) {
    if (!begins_beside_state(tail.data, tail.size))
        throw CodedError("STATE_MODEL_MISMATCH", "The rows are of a model without sliding windows and recurrent layers, which this one has");
    return read_beside_state([&](void* bytes, size_t count) {
        if (count > tail.size) throw CodedError("STATE_DAMAGED", "The tail is cut short");
        std::memcpy(bytes, tail.data, count);
        tail = {tail.data + count, tail.size - count};
    });
}

// Without a tail nothing comes back where there is a state beside the attention: blocks end where no such state is known. If the parts refuse a state
// whose checksum is right, the sequence is empty, and has the tier that it had.
Restored restore_whole(const MemoryParts& memory, llama_seq_id sequence, const std::string& tier, SnapshotParts parts) {
    if (memory.beside().empty()) return memory.packed()->restore(sequence, tier, parts);
    const bool whole = parts.tail.data != nullptr;
    const Bytes beside = whole ? take_beside(parts.tail) : Bytes();
    const std::string tier_before = memory.packed()->cache().tier(sequence).name;
    Restored restored = memory.packed()->restore(sequence, tier, parts);
    if (PackedMemory* window = memory.packed_window()) window->set_tier(sequence, tier);
    if (!whole) {
        clear_sequence(memory, sequence);
        restored.tokens = 0;
        return restored;
    }
    try {
        restore_beside(memory, sequence, beside);
    } catch (const std::exception&) {
        clear_sequence(memory, sequence);
        for (PackedMemory* packed : memory.all_packed()) packed->set_tier(sequence, tier_before);
        throw;
    }
    return restored;
}

}  // namespace

Napi::Value begin_snapshot(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const MemoryParts parts = live_parts(unwrap(info[0]));
        const int sequence = info[1].As<Napi::Number>().Int32Value();
        return PromiseWorker::run(info.Env(), info[0].As<Napi::Object>(), [parts, sequence]() -> PromiseWorker::Result {
            const auto snapshot = parts.packed()->snapshot(sequence);
            const auto tail = std::make_shared<Bytes>(whole_tail(snapshot->tail(), parts, sequence));
            return [snapshot, tail](Napi::Env env) -> Napi::Value {
                Napi::Object result = Napi::Object::New(env);
                result.Set("handle", SnapshotHandle::New(env, new std::shared_ptr<Snapshot>(snapshot),
                                                         [](Napi::Env, std::shared_ptr<Snapshot>* held) { delete held; }));
                result.Set("head", copy_of(env, snapshot->head()));
                result.Set("tail", give(env, std::move(*tail)));
                result.Set("centres", copies_of(env, snapshot->centres()));
                result.Set("blocks", snapshot->blocks());
                result.Set("identities", copy_of(env, snapshot->identities()));
                return result;
            };
        });
    });
}

Napi::Value snapshot_blocks(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const std::shared_ptr<Snapshot> snapshot = snapshot_of(info[0]);
        const int begin = info[1].As<Napi::Number>().Int32Value(), end = info[2].As<Napi::Number>().Int32Value();
        if (begin < 0 || begin > end || end > snapshot->blocks())
            throw CodedError("OPTION_INVALID", "The snapshot has " + std::to_string(snapshot->blocks()) + " blocks");
        return PromiseWorker::run(info.Env(), info[0].As<Napi::Object>(), [snapshot, begin, end]() -> PromiseWorker::Result {
            auto blocks = std::make_shared<std::vector<Bytes>>();
            for (int i = begin; i < end; i++) blocks->push_back(snapshot->block(i));
            return [blocks](Napi::Env env) -> Napi::Value { return give_all(env, *blocks); };
        });
    });
}

Napi::Value end_snapshot(const Napi::CallbackInfo& info) {
    info[0].As<SnapshotHandle>().Data()->reset();
    return info.Env().Undefined();
}

Napi::Value restore_snapshot(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const MemoryParts memory = live_parts(unwrap(info[0]));
        const int sequence = info[1].As<Napi::Number>().Int32Value();
        const std::string tier = info[2].As<Napi::String>().Utf8Value();
        const Napi::Object given = info[3].As<Napi::Object>();
        SnapshotParts parts{span_of(given.Get("head")), spans_of(given.Get("centres")), spans_of(given.Get("blocks")), span_of(given.Get("tail"))};
        Napi::Object keep = Napi::Object::New(info.Env());
        keep.Set("context", info[0]);
        keep.Set("parts", given);
        return PromiseWorker::run(info.Env(), keep, [memory, sequence, tier, parts]() -> PromiseWorker::Result {
            return [restored = restore_whole(memory, sequence, tier, parts)](Napi::Env env) -> Napi::Value {
                Napi::Object result = Napi::Object::New(env);
                result.Set("tokens", restored.tokens);
                result.Set("identities", copy_of(env, restored.identities));
                return result;
            };
        });
    });
}

}  // namespace deltastore
