#include "model_outline.h"

#include <cxxabi.h>

#include <memory>
#include <typeinfo>

#include "adopt.h"
#include "failure.h"
#include "memory_parts.h"

namespace deltastore {

namespace {

constexpr uint32_t kContext = 512;  // tokens of the context that is tried

// Collects llama.cpp's errors instead of logging anything, until it goes.
class ErrorLog {
public:
    ErrorLog() {
        llama_log_get(&before_, &data_before_);
        llama_log_set(
            [](ggml_log_level level, const char* text, void* self) {
                if (level == GGML_LOG_LEVEL_ERROR) static_cast<ErrorLog*>(self)->text_ += text;
            },
            this);
    }
    ~ErrorLog() { llama_log_set(before_, data_before_); }
    ErrorLog(const ErrorLog&) = delete;
    ErrorLog& operator=(const ErrorLog&) = delete;

    // The first line, which names the cause; the others name who passed it on.
    std::string cause() const { return text_.empty() ? "it gave no reason" : text_.substr(0, text_.find('\n')); }

private:
    ggml_log_callback before_ = nullptr;
    void* data_before_ = nullptr;
    std::string text_;
};

using ModelPointer = std::unique_ptr<llama_model, void (*)(llama_model*)>;
using ContextPointer = std::unique_ptr<llama_context, void (*)(llama_context*)>;

ModelPointer load_outline(const std::string& path) {
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    params.load_mode = LLAMA_LOAD_MODE_NONE;
    params.no_alloc = true;
    return {llama_model_load_from_file(path.c_str(), params), llama_model_free};
}

ContextPointer open_outline(llama_model* model) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch = kContext;
    params.n_seq_max = 1;
    params.n_threads = params.n_threads_batch = 1;
    params.kv_unified = true;
    params.swa_full = false;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    return {llama_init_from_model(model, params), llama_free};
}

std::string class_of(const llama_memory_i* memory) {
    if (memory == nullptr) return "";
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(typeid(*memory).name(), nullptr, nullptr, &status), std::free);
    return status == 0 ? name.get() : typeid(*memory).name();
}

// As `parts_of`, but also of memories that are not served.
MemoryParts all_parts_of(const llama_memory_i* memory) {
    if (const auto* hybrid = dynamic_cast<const llama_memory_hybrid_iswa*>(memory)) {
        const llama_kv_cache_iswa* attention = hybrid->get_mem_attn();
        return {attention->get_base(), attention->get_swa(), hybrid->get_mem_recr()};
    }
    if (const auto* recurrent = dynamic_cast<const llama_memory_recurrent*>(memory))
        return {nullptr, nullptr, const_cast<llama_memory_recurrent*>(recurrent)};
    return parts_of(memory);
}

// Layers with rows.
std::vector<LayerShape> shapes_of(const llama_kv_cache* cache, const llama_hparams& hparams) {
    std::vector<LayerShape> shapes;
    if (cache == nullptr) return shapes;
    for (const uint32_t il : cache->get_layer_ids()) {
        const HeadShape head{int(hparams.n_embd_head_k(il)), int(hparams.n_embd_head_v(il)), hparams.is_mla()};
        if (hparams.n_head_kv(il) > 0) shapes.push_back({int(hparams.n_head(il)), int(hparams.n_head_kv(il)), head});
    }
    return shapes;
}

void outline_memory(const llama_memory_i* memory, const llama_hparams& hparams, ModelOutline& outline) {
    outline.memory = class_of(memory);
    if (memory == nullptr) return;
    const MemoryParts parts = all_parts_of(memory);
    outline.shape.attention = shapes_of(parts.attention, hparams);
    outline.shape.windows = shapes_of(parts.window, hparams);
    if (parts.window != nullptr) outline.shape.sliding = {int32_t(hparams.n_swa), hparams.swa_type == LLAMA_SWA_TYPE_CHUNKED};
    outline.shifts = parts.beside().empty() && memory->get_can_shift();
    if (parts.recurrent == nullptr) return;
    for (const ggml_tensor* state : parts.recurrent->s_l) outline.recurrent_layers += state != nullptr;
    for (const auto& [type, size] : parts.recurrent->memory_breakdown()) outline.shape.state_bytes += size;
}

}  // namespace

ModelOutline outline_model(const std::string& path, const Tier& tier) {
    const ErrorLog log;
    const ModelPointer model = load_outline(path);
    if (model == nullptr) throw CodedError("MODEL_UNSUPPORTED", "llama.cpp can't load it: " + log.cause());
    const llama_hparams& hparams = model->hparams;
    ModelOutline outline;
    outline.architecture = model->arch_name();
    outline.layers = int(hparams.n_layer_all);
    outline.trained_tokens = int(hparams.n_ctx_train);
    outline.latent = hparams.is_mla();
    outline.alibi = hparams.f_max_alibi_bias > 0;
    const ContextPointer context = open_outline(model.get());
    if (context == nullptr) {
        outline.refused_code = "MODEL_UNSUPPORTED";
        outline.refused_reason = "llama.cpp makes no context of it by itself: " + log.cause();
        return outline;
    }
    outline_memory(context->get_memory(), hparams, outline);
    try {
        CacheOptions options;
        static_cast<Tier&>(options) = tier;
        adopt_context(*context, std::move(options), {kContext, kContext, false, true});
    } catch (const CodedError& error) {
        outline.refused_code = error.code();
        outline.refused_reason = error.what();
    }
    return outline;
}

}  // namespace deltastore
