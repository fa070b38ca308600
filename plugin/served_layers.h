// The layers of a model that a packed cache serves.
#pragma once

#include <vector>

#include "llama_access.h"
#include "pages/layers.h"

namespace deltastore {

// Which layers have no rows of their own and take another's, as llama_model::create_memory() has it; null for none.
llama_memory_i::layer_reuse_cb reuse_of(const llama_model& model);

// Whether a layer is one of these, or takes the rows of one of them. Both arguments must outlive what is given.
llama_memory_i::layer_filter_cb reaching(const std::vector<uint32_t>& layer_ids, const llama_memory_i::layer_reuse_cb& reuse);

// Shapes of the layers that llama.cpp's own cache has. Throws CodedError(MODEL_UNSUPPORTED) if they can't be served.
std::vector<LayerShape> layer_shapes(const llama_model& model, const std::vector<uint32_t>& layer_ids, const llama_memory_i::layer_reuse_cb& reuse);

}  // namespace deltastore
