#include "key_turn.h"

#include <cmath>
#include <cstring>

#include "failure.h"

namespace deltastore {

void KeyTurn::turn(int layer, float* keys, int rows, int key_dim, int32_t delta) {
    const llama_model& model = context_.get_model();
    const llama_hparams& hparams = model.hparams;
    const llama_cparams& cparams = context_.get_cparams();
    if (hparams.rope_type == LLAMA_ROPE_TYPE_NONE || !hparams.has_rope(layer)) return;
    if (hparams.no_alloc) return;  // a model whose memory is only estimated has no factors
    if (!backend_) {
        backend_.reset(ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr));
        // A page is too little work for threads of its own.
        ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(ggml_backend_get_device(backend_.get()));
        const auto set_threads = reinterpret_cast<ggml_backend_set_n_threads_t>(
            ggml_backend_reg_get_proc_address(registry, "ggml_backend_set_n_threads"));
        if (set_threads) set_threads(backend_.get(), 1);
    }

    const ggml_tensor* held_factors = model.get_rope_factors(cparams, layer);
    const size_t factor_bytes = held_factors ? ggml_nbytes(held_factors) : 0;
    const size_t data_bytes = size_t(rows) * key_dim * sizeof(float) + rows * sizeof(int32_t) + factor_bytes;
    ggml_init_params params{data_bytes + 16 * ggml_tensor_overhead() + ggml_graph_overhead_custom(16, false) + 4096, nullptr, false};
    ggml_context_ptr scratch(ggml_init(params));
    if (!scratch || !backend_) throw CodedError("NATIVE_FAILURE", "No memory to turn keys");
    ggml_context* context = scratch.get();
    ggml_tensor* tensor = ggml_new_tensor_3d(context, GGML_TYPE_F32, key_dim, 1, rows);
    ggml_tensor* positions = ggml_new_tensor_1d(context, GGML_TYPE_I32, rows);
    std::memcpy(tensor->data, keys, size_t(rows) * key_dim * sizeof(float));
    for (int r = 0; r < rows; r++) static_cast<int32_t*>(positions->data)[r] = delta;

    ggml_tensor* factors = held_factors ? ggml_dup_tensor(context, held_factors) : nullptr;
    if (factors) ggml_backend_tensor_get(held_factors, factors->data, 0, factor_bytes);  // from a device, perhaps

    const int rotated = int(hparams.n_rot(layer));
    // Architectures with a compressed key rotate its last dims, the others the first.
    const int unrotated = hparams.n_lora_kv > 0 ? key_dim - rotated : 0;
    ggml_tensor* part = ggml_view_3d(context, tensor, key_dim - unrotated, 1, rows, tensor->nb[1], tensor->nb[2], unrotated * sizeof(float));
    // Turning must not scale: rope multiplies by attn_factor x (1 + 0.1 ln(1 / freq_scale)) when YaRN is on.
    const float frequency_scale = model.get_rope_freq_scale(cparams, layer);
    const float attention_factor = cparams.yarn_ext_factor != 0.0f ? 1.0f / (1.0f + 0.1f * std::log(1.0f / frequency_scale)) : 1.0f;
    ggml_tensor* turned = ggml_rope_ext_inplace(context, part, positions, factors, rotated, hparams.rope_type,
                                                cparams.n_ctx_orig_yarn, model.get_rope_freq_base(cparams, layer), frequency_scale,
                                                cparams.yarn_ext_factor, attention_factor, cparams.yarn_beta_fast, cparams.yarn_beta_slow);
    ggml_cgraph* graph = ggml_new_graph_custom(context, 16, false);
    ggml_build_forward_expand(graph, turned);
    if (ggml_backend_graph_compute(backend_.get(), graph) != GGML_STATUS_SUCCESS)
        throw CodedError("NATIVE_FAILURE", "Turning keys failed");
    std::memcpy(keys, tensor->data, size_t(rows) * key_dim * sizeof(float));
}

}  // namespace deltastore
