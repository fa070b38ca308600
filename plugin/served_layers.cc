#include "served_layers.h"

#include <algorithm>
#include <string>

#include "failure.h"

namespace deltastore {

llama_memory_i::layer_reuse_cb reuse_of(const llama_model& model) {
    const llama_hparams& hparams = model.hparams;
    const int32_t own = hparams.n_layer_kv_from_start;
    if ((model.arch != LLM_ARCH_GEMMA3N && model.arch != LLM_ARCH_GEMMA4) || own >= int32_t(hparams.n_layer_all)) return nullptr;
    return [&hparams, own](int32_t il) { return il < own ? -1 : own - (hparams.is_swa(il) ? 2 : 1); };
}

llama_memory_i::layer_filter_cb reaching(const std::vector<uint32_t>& layer_ids, const llama_memory_i::layer_reuse_cb& reuse) {
    return [&layer_ids, &reuse](int32_t il) {
        const int32_t source = reuse ? reuse(il) : -1;
        return std::find(layer_ids.begin(), layer_ids.end(), uint32_t(source < 0 ? il : source)) != layer_ids.end();
    };
}

// Counts the attentions over each layer's rows.
static void count_attentions(std::vector<LayerShape>& layers, const std::vector<uint32_t>& layer_ids, const llama_model& model,
                             const llama_memory_i::layer_reuse_cb& reuse) {
    if (reuse == nullptr) return;
    for (uint32_t il = 0; il < model.hparams.n_layer_all; il++) {
        const int32_t source = reuse(int32_t(il));
        const auto found = source < 0 ? layer_ids.end() : std::find(layer_ids.begin(), layer_ids.end(), uint32_t(source));
        if (found == layer_ids.end()) continue;
        LayerShape& layer = layers[found - layer_ids.begin()];
        if (int(model.hparams.n_head(il)) != layer.query_heads)
            throw CodedError("MODEL_UNSUPPORTED", "layer " + std::to_string(il) + " has other query heads than layer " + std::to_string(source) +
                                                      ", whose rows it takes");
        layer.attentions++;
    }
}

std::vector<LayerShape> layer_shapes(const llama_model& model, const std::vector<uint32_t>& layer_ids, const llama_memory_i::layer_reuse_cb& reuse) {
    const llama_hparams& hparams = model.hparams;
    std::vector<LayerShape> layers;
    for (uint32_t il : layer_ids) {
        LayerShape layer{int(hparams.n_head(il)), int(hparams.n_head_kv(il)), {int(hparams.n_embd_head_k(il)), int(hparams.n_embd_head_v(il)), hparams.is_mla()}};
        const auto bad = [](int dim) { return dim <= 0 || dim % kDimStep != 0 || dim > kMostDim; };
        if (bad(layer.head.key_dim) || bad(layer.head.value_dim))
            throw CodedError("MODEL_UNSUPPORTED", "layer " + std::to_string(il) + " has heads of " + std::to_string(layer.head.key_dim) +
                                                      " (keys) and " + std::to_string(layer.head.value_dim) +
                                                      " (values) elements; a multiple of " + std::to_string(kDimStep) + " up to " +
                                                      std::to_string(kMostDim) + " is served");
        if (layer.head.latent && (key_block(layer.head.key_dim) != kGroup || layer.head.value_dim % kGroup != 0 ||
                                  layer.head.value_dim > layer.head.key_dim))
            throw CodedError("MODEL_UNSUPPORTED", "layer " + std::to_string(il) + " keeps latent vectors (MLA) of " + std::to_string(layer.head.key_dim) +
                                                      " elements, of which " + std::to_string(layer.head.value_dim) +
                                                      " are values; an odd multiple of 64 is served, with a multiple of 64 for values");
        if (layer.kv_heads > 0 && layer.query_heads % layer.kv_heads != 0)
            throw CodedError("MODEL_UNSUPPORTED", "layer " + std::to_string(il) + " has " + std::to_string(layer.query_heads) +
                                                      " query heads, no multiple of its " + std::to_string(layer.kv_heads) + " KV heads");
        layers.push_back(layer);
    }
    count_attentions(layers, layer_ids, model, reuse);
    return layers;
}

}  // namespace deltastore
