#include "adopt.h"

#include <algorithm>
#include <string>
#include <typeinfo>

#include "failure.h"
#include "memory_parts.h"
#include "packed_parts.h"

namespace deltastore {

static void require_served_memory(const llama_context& context) {
    llama_memory_t memory = context.get_memory();
    const auto refuse = [](const char* reason) { throw CodedError("MODEL_UNSUPPORTED", reason); };
    if (memory == nullptr) refuse("it has no KV cache");
    if (dynamic_cast<llama_memory_recurrent*>(memory)) refuse("its memory is recurrent");
    const std::type_info& kind = typeid(*memory);
    if (kind == typeid(llama_memory_hybrid_iswa)) refuse("it has recurrent layers beside layers with a sliding window");
    if (kind != typeid(llama_kv_cache) && kind != typeid(llama_kv_cache_iswa) && kind != typeid(llama_memory_hybrid))
        refuse("its memory is of a kind of its own, neither attention nor a hybrid of attention and recurrent layers");
    if (!context.get_cparams().causal_attn) refuse("its attention is not causal");
    if (context.get_cparams().n_rs_seq > 0) refuse("its recurrent states are kept for going back (n_rs_seq)");
}

static void require_cpu_layers(const llama_model& model) {
    for (uint32_t il = 0; il < model.hparams.n_layer_all; il++) {
        ggml_backend_dev_t device = model.hparams.has_kv(il) ? model.dev_layer(int(il)) : nullptr;
        if (device && ggml_backend_dev_type(device) != GGML_BACKEND_DEVICE_TYPE_CPU)
            throw CodedError("GPU_LAYERS_UNSUPPORTED", "layer " + std::to_string(il) + " is on " + ggml_backend_dev_name(device) +
                                                           " (policy: gpuLayers is not \"host\"); load the model with gpuLayers: 0");
    }
}

// Of the part with sliding windows: its sequences have the tiers of the others, but nothing is evicted.
static CacheOptions window_options(CacheOptions options, const llama_hparams& hparams, bool whole_windows) {
    if (hparams.swa_type != LLAMA_SWA_TYPE_STANDARD && hparams.swa_type != LLAMA_SWA_TYPE_CHUNKED)
        throw CodedError("MODEL_UNSUPPORTED", "its sliding windows reach to later tokens, too");
    if (hparams.n_swa == 0 || hparams.n_swa > uint32_t(INT32_MAX / 2))
        throw CodedError("MODEL_UNSUPPORTED", "its sliding windows have " + std::to_string(hparams.n_swa) + " tokens");
    options.sliding_window = {int32_t(hparams.n_swa), hparams.swa_type == LLAMA_SWA_TYPE_CHUNKED, whole_windows};
    options.eviction.reset();
    for (Tier& tier : options.others) tier.eviction.reset();
    return options;
}

void adopt_context(llama_context& context, CacheOptions options, const AdoptOptions& how) {
    const llama_model& model = context.get_model();
    require_served_memory(context);
    if (!how.allows_gpu_layers) require_cpu_layers(model);
    const MemoryParts stock = parts_of(context.get_memory());
    const std::vector<uint32_t> layer_ids = stock.attention->get_layer_ids();
    if (layer_ids.empty()) throw CodedError("MODEL_UNSUPPORTED", "none of its layers attends to all tokens");
    const llama_memory_i::layer_reuse_cb reuse = stock.window ? reuse_of(model) : nullptr;
    options.layers = layer_shapes(model, layer_ids, reuse);
    if (!stock.beside().empty()) options.kept_prefixes = how.kept_states;
    if (options.eviction && model.hparams.f_max_alibi_bias > 0)
        throw CodedError("MODEL_UNSUPPORTED", "it has ALiBi, which needs every row's own position, so that rows can't be evicted; choose a tier "
                                              "without `evict`");
    llama_cparams& parameters = context.*member(access::ContextParameters{});
    if (!parameters.flash_attn)
        throw CodedError("FLASH_ATTENTION_REQUIRED", "flash attention is off for this context, and the packed cache needs it on. Pass flashAttention: true "
                                                     "to createContext, unless the model itself forbids it");
    const uint32_t context_cells = how.context_cells, batch = std::min(context_cells, how.batch_tokens);
    auto packed = std::make_unique<PackedMemory>(context, options, layer_ids, context_cells, int(batch), reuse);

    context.synchronize();
    llama_memory_ptr& memory = context.*member(access::ContextMemory{});
    if (stock.window != nullptr) {
        const std::vector<uint32_t> window_ids = stock.window->get_layer_ids();
        options = window_options(std::move(options), model.hparams, how.whole_windows);
        options.layers = layer_shapes(model, window_ids, reuse);
        auto window = std::make_unique<PackedMemory>(context, std::move(options), window_ids, context_cells, int(batch), reuse, packed.get());
        memory = std::make_unique<PackedIswa>(context, std::move(packed), std::move(window));
    } else if (auto* hybrid = dynamic_cast<llama_memory_hybrid*>(memory.get())) {
        memory = std::make_unique<PackedHybrid>(context, std::move(packed), *hybrid);
    } else {
        memory = std::move(packed);
    }
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
    return context && context->get_memory() ? parts_of(context->get_memory()).packed() : nullptr;
}

}  // namespace deltastore
