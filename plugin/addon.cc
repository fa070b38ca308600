// The functions of ts/engine/native.ts.
#include <dlfcn.h>
#include <napi.h>

#include <cstdlib>
#include <cstring>

#include "AddonModel.h"
#include "adopt.h"
#include "archives.h"
#include "content_hash.h"
#include "failure_report.h"
#include "live.h"
#include "logits.h"
#include "models.h"
#include "prefix_calls.h"
#include "prefixes.h"
#include "promise_worker.h"
#include "snapshots.h"
#include "tier_options.h"

namespace deltastore {

namespace {

constexpr uint32_t kTinyContext = 256;  // cells of llama.cpp's own cache, dropped as soon as it is there

// Those that this processor runs, best first.
std::string kernel_names() {
    const Kernels* found[4];
    const int count = available_kernels(found);
    std::string names;
    for (int i = 0; i < count; i++) names += std::string(i == 0 ? "" : ", ") + '"' + found[i]->name + '"';
    return names;
}

Napi::Value kernels(const Napi::CallbackInfo& info) {
    const Kernels* found[4];
    const int count = available_kernels(found);
    Napi::Array names = Napi::Array::New(info.Env(), count);
    for (int i = 0; i < count; i++) names.Set(i, found[i]->name);
    const Kernels* selected = select_kernels();
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("available", names);
    result.Set("selected", selected ? selected->name : "");
    return result;
}

Napi::Value install(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        // ggml keeps pointers into this library for the life of the process, so a worker thread's end must not unload it.
        Dl_info self;
        if (dladdr(reinterpret_cast<const void*>(&install), &self)) dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
        if (select_kernels() == nullptr)
            throw CodedError("OPTION_INVALID", std::string("DELTASTORE_KERNEL is \"") + std::getenv("DELTASTORE_KERNEL") +
                                                   "\"; this processor runs " + kernel_names());
        const RuntimeLibraries libraries = install_graph_ops();
        Napi::Object result = Napi::Object::New(info.Env());
        result.Set("llamaLibrary", libraries.llama);
        result.Set("cpuLibrary", libraries.cpu);
        return result;
    });
}

Napi::Value prepare_context(const Napi::CallbackInfo& info) {
    AddonContext* addon = unwrap(info[0]);
    addon->context_params.n_ctx = kTinyContext;
    addon->context_params.kv_unified = true;
    return info.Env().Undefined();
}

// Undoes prepare_context and frees what init() made, so that init() can make a stock context.
Napi::Value restore_context(const Napi::CallbackInfo& info) {
    AddonContext* addon = unwrap(info[0]);
    addon->context_params.n_ctx = info[1].As<Napi::Number>().Uint32Value();
    addon->context_params.kv_unified = false;
    if (addon->ctx != nullptr) llama_free(addon->ctx);
    addon->ctx = nullptr;
    addon->contextLoaded = false;
    return info.Env().Undefined();
}

CacheOptions cache_options(const Napi::Object& config, const AddonContext& addon) {
    CacheOptions options;
    static_cast<Tier&>(options) = tier_of(config.Get("tier").As<Napi::Object>());
    const Napi::Array others = config.Get("others").As<Napi::Array>();
    for (uint32_t i = 0; i < others.Length(); i++) options.others.push_back(tier_of(others.Get(i).As<Napi::Object>()));
    options.pool_limit = size_t(config.Get("poolLimitBytes").As<Napi::Number>().Int64Value());
    options.max_sequences = int(addon.context_params.n_seq_max);
    options.kept_prefixes = config.Get("keptPrefixes").As<Napi::Number>().Int32Value();
    return options;
}

Napi::Value adopt(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        AddonContext* addon = unwrap(info[0]);
        llama_context* context = live_context(addon);
        const Napi::Object config = info[1].As<Napi::Object>();
        const CacheOptions options = cache_options(config, *addon);
        const AdoptOptions how{config.Get("contextCells").As<Napi::Number>().Uint32Value(), config.Get("batchSize").As<Napi::Number>().Uint32Value(),
                               addon->context_params.swa_full, config.Get("allowsGpuLayers").As<Napi::Boolean>(),
                               config.Get("keptStates").As<Napi::Number>().Int32Value()};
        return PromiseWorker::run(info.Env(), info[0].As<Napi::Object>(), [=]() -> PromiseWorker::Result {
            adopt_context(*context, options, how);
            return nullptr;
        });
    });
}

Napi::Value begin_admission(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        for (PackedMemory* memory : live_parts(unwrap(info[0])).all_packed()) memory->cache().begin_admission();
        return info.Env().Undefined();
    });
}

Napi::Value admit(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const MemoryParts parts = live_parts(unwrap(info[0]));
        PackedMemory &memory = *parts.packed(), *window = parts.packed_window();
        const int sequence = info[1].As<Napi::Number>().Int32Value(), tokens = info[3].As<Napi::Number>().Int32Value();
        const int32_t position = info[2].As<Napi::Number>().Int32Value();
        const bool fits = memory.cache().admit(sequence, position, tokens), fits_window = fits && (!window || window->cache().admit(sequence, position, tokens));
        if (fits && !fits_window) memory.cache().withdraw();
        if (!fits_window) (fits ? window : &memory)->fail(Failure::pool_limit);
        return Napi::Boolean::New(info.Env(), fits_window);
    });
}

Napi::Value set_tier(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        for (PackedMemory* memory : live_parts(unwrap(info[0])).all_packed())
            memory->set_tier(info[1].As<Napi::Number>().Int32Value(), info[2].As<Napi::String>().Utf8Value());
        return info.Env().Undefined();
    });
}

Napi::Value repack(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const MemoryParts parts = live_parts(unwrap(info[0]));
        const int sequence = info[1].As<Napi::Number>().Int32Value(), window = info[2].As<Napi::Number>().Int32Value();
        return PromiseWorker::run(info.Env(), info[0].As<Napi::Object>(), [parts, sequence, window]() -> PromiseWorker::Result {
            for (PackedMemory* memory : parts.all_packed()) memory->repack(sequence, window);
            return nullptr;
        });
    });
}

Napi::Value eviction_due(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        return Napi::Boolean::New(info.Env(), live_memory(unwrap(info[0])).cache().eviction_due(info[1].As<Napi::Number>().Int32Value()));
    });
}

Napi::Value evict(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        PackedMemory& memory = live_memory(unwrap(info[0]));
        const int sequence = info[1].As<Napi::Number>().Int32Value();
        const Eviction how = eviction_of(info[2].As<Napi::Object>());
        return PromiseWorker::run(info.Env(), info[0].As<Napi::Object>(), [&memory, sequence, how]() -> PromiseWorker::Result {
            memory.evict(sequence, how);
            return nullptr;
        });
    });
}

Napi::Value resident_bytes(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        size_t bytes = 0;
        for (const PackedMemory* memory : live_parts(unwrap(info[0])).all_packed()) bytes += memory->cache().resident_bytes();
        return Napi::Number::New(info.Env(), double(bytes));
    });
}

Napi::Value vocabulary_size(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        return Napi::Number::New(info.Env(), llama_vocab_n_tokens(&live_context(unwrap(info[0]))->get_model().vocab));
    });
}

Napi::Value can_shift(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        return Napi::Boolean::New(info.Env(), llama_memory_can_shift(llama_get_memory(live_context(unwrap(info[0])))));
    });
}

// Of the parts' failures the first one.
FailureReport take_failure_of(const llama_context* context) {
    FailureReport first;
    if (context == nullptr || context->get_memory() == nullptr) return first;
    for (const PackedMemory* memory : parts_of(context->get_memory()).all_packed()) {
        FailureReport report = memory->take_failure();
        if (first.code.empty()) first = std::move(report);
    }
    return first;
}

Napi::Value take_failure(const Napi::CallbackInfo& info) {
    AddonContext* addon = unwrap(info[0]);
    return failure_to_js(info.Env(), addon->disposed ? FailureReport{} : take_failure_of(addon->ctx));
}

Napi::Value stats(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const MemoryParts parts = live_parts(unwrap(info[0]));
        const CacheStats stats = parts.stats();
        Napi::Object result = Napi::Object::New(info.Env());
        result.Set("tokens", double(stats.tokens));
        result.Set("residentBytes", double(stats.resident_bytes));
        result.Set("peakResidentBytes", double(stats.peak_resident_bytes));
        result.Set("stockBytes", double(stats.stock_bytes));
        result.Set("pages", double(stats.pages));
        result.Set("keptBytes", double(stats.kept_bytes));
        result.Set("stateBytes", double(stats.state_bytes));
        result.Set("bytesBeside", double(parts.bytes_beside()));
        Napi::Array sequences = Napi::Array::New(info.Env());
        for (const SequenceStats& sequence : stats.sequences) {
            if (sequence.tokens == 0) continue;
            Napi::Object entry = Napi::Object::New(info.Env());
            entry.Set("id", sequence.id);
            entry.Set("tier", sequence.tier);
            entry.Set("tokens", sequence.tokens);
            entry.Set("kept", sequence.kept);
            entry.Set("residentBytes", double(sequence.resident_bytes));
            entry.Set("sharedBytes", double(sequence.shared_bytes));
            sequences.Set(sequences.Length(), entry);
        }
        result.Set("sequences", sequences);
        return result;
    });
}

struct BatchGuard {
    llama_batch batch;
    ~BatchGuard() { llama_batch_free(batch); }
};

Napi::Value evaluate_logits(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        llama_context* context = live_context(unwrap(info[0]));
        const int sequence = info[1].As<Napi::Number>().Int32Value(), position = info[2].As<Napi::Number>().Int32Value();
        const Napi::Uint32Array array = info[3].As<Napi::Uint32Array>();
        const std::vector<uint32_t> tokens(array.Data(), array.Data() + array.ElementLength());
        const size_t first_logit = info[4].As<Napi::Number>().Uint32Value();
        if (tokens.empty() || tokens.size() > context->n_batch())
            throw CodedError("OPTION_INVALID", "Between 1 and " + std::to_string(context->n_batch()) + " tokens can be evaluated at once");
        return PromiseWorker::run(info.Env(), info[0].As<Napi::Object>(), [=]() -> PromiseWorker::Result {
            BatchGuard guard{llama_batch_init(int32_t(tokens.size()), 0, 1)};
            llama_batch& batch = guard.batch;
            for (size_t i = 0; i < tokens.size(); i++) {
                batch.token[i] = llama_token(tokens[i]);
                batch.pos[i] = llama_pos(position + int(i));
                batch.n_seq_id[i] = 1;
                batch.seq_id[i][0] = sequence;
                batch.logits[i] = i >= first_logit;
            }
            batch.n_tokens = int32_t(tokens.size());
            if (const int status = llama_decode(context, batch); status != 0) {
                const FailureReport report = take_failure_of(context);
                if (!report.code.empty()) throw CodedError(report.code, report.message);
                throw CodedError("NATIVE_FAILURE", "llama_decode returned " + std::to_string(status));
            }
            llama_synchronize(context);
            PackedMemory* memory = packed_memory(context);
            if (memory != nullptr && first_logit < tokens.size() && memory->cache().eviction_due(sequence))
                memory->cache().evict(sequence, *memory->cache().tier(sequence).eviction);
            const size_t vocabulary = size_t(llama_vocab_n_tokens(llama_model_get_vocab(&context->get_model())));
            auto logits = std::make_shared<std::vector<float>>();
            for (size_t i = first_logit; i < tokens.size(); i++) {
                const float* row = context->get_logits_ith(int32_t(i));
                logits->insert(logits->end(), row, row + vocabulary);
            }
            return [logits](Napi::Env env) -> Napi::Value {
                Napi::Float32Array result = Napi::Float32Array::New(env, logits->size());
                std::memcpy(result.Data(), logits->data(), logits->size() * sizeof(float));
                return result;
            };
        });
    });
}

Napi::Value copy_sequence(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        llama_memory_t memory = llama_get_memory(live_context(unwrap(info[0])));
        const int source = info[1].As<Napi::Number>().Int32Value(), target = info[2].As<Napi::Number>().Int32Value();
        llama_memory_seq_rm(memory, target, -1, -1);
        llama_memory_seq_cp(memory, source, target, -1, -1);
        return info.Env().Undefined();
    });
}

Napi::Value clear(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        llama_context* context = live_context(unwrap(info[0]));
        const int sequence = info[1].As<Napi::Number>().Int32Value();
        if (packed_memory(context) != nullptr) clear_sequence(parts_of(context->get_memory()), sequence);
        else llama_memory_seq_rm(llama_get_memory(context), sequence, -1, -1);
        return info.Env().Undefined();
    });
}

Napi::Value hash_file(const Napi::CallbackInfo& info) {
    const std::string path = info[0].As<Napi::String>();
    return PromiseWorker::run(info.Env(), info.This().As<Napi::Object>(), [path]() -> PromiseWorker::Result {
        return [hash = content_hash(path)](Napi::Env env) -> Napi::Value { return Napi::Buffer<uint8_t>::Copy(env, hash.data(), hash.size()); };
    });
}

uint64_t hash_of(const Napi::Value& value) {
    const Napi::Uint8Array bytes = value.As<Napi::Uint8Array>();
    uint64_t hash = 0;
    if (bytes.ByteLength() != sizeof hash) throw CodedError("OPTION_INVALID", "A hash of " + std::to_string(sizeof hash) + " bytes is needed");
    std::memcpy(&hash, bytes.Data(), sizeof hash);
    return hash;
}

Napi::Value set_origin(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        live_memory(unwrap(info[0])).set_origin(hash_of(info[1]), hash_of(info[2]));
        return info.Env().Undefined();
    });
}

Napi::Value convert_weights(const Napi::CallbackInfo& info) {
    const std::string source = info[0].As<Napi::String>(), target = info[1].As<Napi::String>();
    return PromiseWorker::run(info.Env(), info.This().As<Napi::Object>(), [=]() -> PromiseWorker::Result {
        llama_model_quantize_params params = llama_model_quantize_default_params();
        params.ftype = LLAMA_FTYPE_MOSTLY_F16;
        params.allow_requantize = true;
        if (llama_model_quantize(source.c_str(), target.c_str(), &params) != 0)
            throw CodedError("NATIVE_FAILURE", "Converting the weights of " + source + " to F16 failed");
        return nullptr;
    });
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
    const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
        exports.Set(name, Napi::Function::New(env, function, name));
    };
    exports.Set("llamaCppRelease", Napi::String::New(env, DELTASTORE_LLAMA_RELEASE));
    exports.Set("stateFileVersion", Napi::Number::New(env, LLAMA_STATE_SEQ_VERSION));
    add("kernels", kernels);
    add("install", install);
    add("prepareContext", prepare_context);
    add("restoreContext", restore_context);
    add("adoptContext", adopt);
    add("beginAdmission", begin_admission);
    add("admit", admit);
    add("setTier", set_tier);
    add("repack", repack);
    add("evictionDue", eviction_due);
    add("evict", evict);
    add("prefixEnd", prefix_end);
    add("forkPrefix", fork);
    add("stateBytes", state_bytes);
    add("hashFile", hash_file);
    add("setOrigin", set_origin);
    add("beginSnapshot", begin_snapshot);
    add("snapshotBlocks", snapshot_blocks);
    add("endSnapshot", end_snapshot);
    add("restoreSnapshot", restore_snapshot);
    add("keyTurns", key_turns);
    add("beginTraining", begin_training);
    add("addTraining", add_training);
    add("endTraining", end_training);
    add("openBook", open_book);
    add("freezeParts", freeze_parts);
    add("thawParts", thaw_parts);
    add("vocabularySize", vocabulary_size);
    add("canShift", can_shift);
    add("onlyAttention", only_attention);
    add("canGoOn", can_go_on);
    add("takeFailure", take_failure);
    add("residentBytes", resident_bytes);
    add("keptBytes", kept_bytes);
    add("stats", stats);
    add("evaluateLogits", evaluate_logits);
    add("clearSequence", clear);
    add("copySequence", copy_sequence);
    add("scoreLogits", score_logits);
    add("compareLogits", compare_logits);
    add("convertWeightsToF16", convert_weights);
    add("outlineModel", outline_model_of);
    add("forecast", forecast);
    return exports;
}

}  // namespace

}  // namespace deltastore

static Napi::Object init_addon(Napi::Env env, Napi::Object exports) {
    return deltastore::init(env, exports);
}
NODE_API_MODULE(deltastore, init_addon)
