// The layers of a context and their tables: one a layer and KV head, numbered layer by layer.
#pragma once

#include <algorithm>
#include <vector>

#include "format/format.h"

namespace deltastore {

struct LayerShape {
    int query_heads = 0;
    int kv_heads = 0;
    HeadShape head;
    int attentions = 1;  // over its rows a ubatch; more where later layers have no rows of their own

    // Query heads that share a KV head.
    int group() const { return kv_heads == 0 ? 0 : query_heads / kv_heads; }
};

class Layers {
public:
    explicit Layers(const std::vector<LayerShape>& layers) : layers_(layers) {
        for (size_t layer = 0; layer < layers.size(); layer++) {
            first_table_.push_back(int(layer_of_.size()));
            layer_of_.insert(layer_of_.end(), layers[layer].kv_heads, int(layer));
            first_attention_.push_back(attentions_);
            attentions_ += layers[layer].attentions;
        }
    }

    int count() const { return int(layers_.size()); }
    int tables() const { return int(layer_of_.size()); }
    // All layers' attentions, numbered layer by layer.
    int attentions() const { return attentions_; }
    int first_attention(int layer) const { return first_attention_[layer]; }
    const LayerShape& operator[](int layer) const { return layers_[layer]; }
    int table(int layer, int kv_head) const { return first_table_[layer] + kv_head; }
    int layer_of(int table) const { return layer_of_[table]; }
    int kv_head_of(int table) const { return table - first_table_[layer_of_[table]]; }
    const HeadShape& shape(int table) const { return layers_[layer_of_[table]].head; }

    // Floats of a page's keys and values, whatever its table.
    size_t page_floats() const {
        size_t most = 0;
        for (const LayerShape& layer : layers_)
            if (layer.kv_heads > 0) most = std::max(most, size_t(kPageRows) * (layer.head.key_dim + layer.head.value_dim));
        return most;
    }
    // What a token takes at 16 bits, in all layers.
    size_t stock_bytes_per_token() const {
        size_t bytes = 0;
        for (const LayerShape& layer : layers_) bytes += size_t(layer.kv_heads) * (layer.head.key_dim + layer.head.stored_value_dim()) * 2;
        return bytes;
    }

private:
    std::vector<LayerShape> layers_;
    std::vector<int> first_table_;  // [layer]
    std::vector<int> layer_of_;     // [table]
    std::vector<int> first_attention_;  // [layer]
    int attentions_ = 0;
};

}  // namespace deltastore
