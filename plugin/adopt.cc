#include "adopt.h"

#include <algorithm>
#include <string>
#include <typeinfo>

#include "failure.h"
#include "llama-kv-cache-iswa.h"
#include "llama-memory-hybrid-iswa.h"
#include "llama-memory-hybrid.h"
#include "llama-memory-recurrent.h"

namespace deltastore {

static void require_plain_attention(const llama_context& context) {
    llama_memory_t memory = context.get_memory();
    const auto refuse = [](const char* reason) { throw CodedError("MODEL_UNSUPPORTED", reason); };
    if (memory == nullptr) refuse("it has no KV cache");
    if (dynamic_cast<llama_kv_cache_iswa*>(memory)) refuse("some of its layers use sliding-window attention");
    if (dynamic_cast<llama_memory_recurrent*>(memory)) refuse("its memory is recurrent");
    if (dynamic_cast<llama_memory_hybrid*>(memory) || dynamic_cast<llama_memory_hybrid_iswa*>(memory))
        refuse("its memory is partly recurrent");
    if (typeid(*memory) != typeid(llama_kv_cache)) refuse("its memory is of a kind of its own, not a plain KV cache");
    if (!context.get_cparams().causal_attn) refuse("its attention is not causal");
}

static void require_cpu_layers(const llama_model& model) {
    for (uint32_t il = 0; il < model.hparams.n_layer_all; il++) {
        ggml_backend_dev_t device = model.hparams.has_kv(il) ? model.dev_layer(int(il)) : nullptr;
        if (device && ggml_backend_dev_type(device) != GGML_BACKEND_DEVICE_TYPE_CPU)
            throw CodedError("GPU_LAYERS_UNSUPPORTED", "layer " + std::to_string(il) + " is on " + ggml_backend_dev_name(device) +
                                                           "; load the model with gpuLayers: 0");
    }
}

void adopt_context(llama_context& context, CacheOptions options, uint32_t context_cells, uint32_t batch_tokens) {
    const llama_model& model = context.get_model();
    require_plain_attention(context);
    require_cpu_layers(model);
    const std::vector<uint32_t> layer_ids = static_cast<llama_kv_cache*>(context.get_memory())->get_layer_ids();
    options.layers = layer_shapes(model, layer_ids);
    if (options.eviction && model.hparams.f_max_alibi_bias > 0)
        throw CodedError("MODEL_UNSUPPORTED", "it has ALiBi, which needs every row's own position, so that rows can't be evicted; choose a tier "
                                              "without `evict`");
    llama_cparams& parameters = context.*member(access::ContextParameters{});
    if (!parameters.flash_attn)
        throw CodedError("FLASH_ATTENTION_REQUIRED", "flash attention is off for this context, and the packed cache needs it on. Pass flashAttention: true "
                                                     "to createContext, unless the model itself forbids it");
    const uint32_t batch = std::min(context_cells, batch_tokens);
    auto memory = std::make_unique<PackedMemory>(context, std::move(options), layer_ids, context_cells, int(batch));

    context.synchronize();
    (context.*member(access::ContextMemory{})) = std::move(memory);
    parameters.n_ctx = context_cells;
    parameters.n_ctx_seq = context_cells / parameters.n_seq_max;
    parameters.kv_unified = true;
    parameters.n_batch = batch;
    parameters.n_ubatch = batch;
    parameters.n_outputs_max = batch;
    parameters.n_outputs_max_per_seq = batch;
    (context.*member(access::ContextOutputIds{})).clear();  // llama.cpp sizes it once, by n_batch
    context.*member(access::ContextNeedsReserve{}) = true;
    context.sched_reserve();

    std::string reason;
    if (!graph_is_served(context.get_gf_res_reserve()->get_gf(), reason)) throw CodedError("MODEL_UNSUPPORTED", reason);
}

PackedMemory* packed_memory(llama_context* context) {
    return context ? dynamic_cast<PackedMemory*>(context->get_memory()) : nullptr;
}

}  // namespace deltastore
