#include "models.h"

#include <string>

#include "model_outline.h"
#include "promise_worker.h"
#include "tier_options.h"

namespace deltastore {

namespace {

constexpr int64_t kMostStateBytes = int64_t(1) << 40;  // of a sequence
constexpr double kMostBytes = double(int64_t(1) << 60);  // of stock's cache: no sum wraps, since a packed one is no more than a few times that
constexpr int kMostLayers = 4096;  // of one kind, in a forecast; KV heads of a layer likewise

int count_of(const Napi::Object& config, const char* name, int most, int absent = -1) {
    const Napi::Value value = config.Get(name);
    if (value.IsUndefined() && absent >= 0) return absent;
    const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
    if (!(number >= 0 && number <= most) || number != int(number))
        throw CodedError("OPTION_INVALID", std::string(name) + " has to be a whole number from 0 to " + std::to_string(most));
    return int(number);
}

std::vector<LayerShape> layers_of(const Napi::Value& value) {
    std::vector<LayerShape> layers;
    const Napi::Array groups = value.As<Napi::Array>();
    for (uint32_t i = 0; i < groups.Length(); i++) {
        const Napi::Object group = groups.Get(i).As<Napi::Object>();
        const LayerShape layer{0, count_of(group, "kvHeads", kMostLayers), {count_of(group, "keyLength", kMostDim), count_of(group, "valueLength", kMostDim),
                                                                      group.Get("latent").ToBoolean()}};
        layers.insert(layers.end(), size_t(count_of(group, "count", kMostLayers)), layer);
    }
    return layers;
}

ModelShape shape_of(const Napi::Object& config) {
    ModelShape shape{layers_of(config.Get("attention")), layers_of(config.Get("windows")), {count_of(config, "window", INT32_MAX)}, 0};
    shape.state_bytes = size_t(std::min(std::max<int64_t>(config.Get("stateBytes").As<Napi::Number>().Int64Value(), 0), kMostStateBytes));
    return shape;
}

// Layers of one shape that follow each other are one entry.
Napi::Array layers_to_js(Napi::Env env, const std::vector<LayerShape>& layers) {
    Napi::Array groups = Napi::Array::New(env);
    for (size_t first = 0, end; first < layers.size(); first = end) {
        const LayerShape& layer = layers[first];
        const auto alike = [&](const LayerShape& other) { return other.kv_heads == layer.kv_heads && other.head == layer.head; };
        for (end = first + 1; end < layers.size() && alike(layers[end]); end++) {}
        Napi::Object group = Napi::Object::New(env);
        group.Set("count", double(end - first));
        group.Set("kvHeads", layer.kv_heads);
        group.Set("keyLength", layer.head.key_dim);
        group.Set("valueLength", layer.head.value_dim);
        group.Set("latent", layer.head.latent);
        groups.Set(groups.Length(), group);
    }
    return groups;
}

Napi::Value outline_to_js(Napi::Env env, const ModelOutline& outline) {
    Napi::Object shape = Napi::Object::New(env);
    shape.Set("attention", layers_to_js(env, outline.shape.attention));
    shape.Set("windows", layers_to_js(env, outline.shape.windows));
    shape.Set("window", outline.shape.sliding.tokens);
    shape.Set("stateBytes", double(outline.shape.state_bytes));
    Napi::Object result = Napi::Object::New(env);
    result.Set("architecture", outline.architecture);
    result.Set("memory", outline.memory.empty() ? env.Null() : Napi::String::New(env, outline.memory));
    result.Set("layers", outline.layers);
    result.Set("recurrentLayers", outline.recurrent_layers);
    result.Set("trainedTokens", outline.trained_tokens);
    result.Set("latent", outline.latent);
    result.Set("alibi", outline.alibi);
    result.Set("shifts", outline.shifts);
    result.Set("shape", shape);
    result.Set("refusal", env.Null());
    if (outline.refused_code.empty()) return result;
    Napi::Object refusal = Napi::Object::New(env);
    refusal.Set("code", outline.refused_code);
    refusal.Set("reason", outline.refused_reason);
    result.Set("refusal", refusal);
    return result;
}

void require_coded(const std::vector<LayerShape>& layers) {
    for (const LayerShape& layer : layers)
        if (layer.kv_heads > 0 && (layer.head.key_dim == 0 || layer.head.value_dim == 0 || layer.head.key_dim % kDimStep != 0 || layer.head.value_dim % kDimStep != 0))
            throw CodedError("MODEL_UNSUPPORTED", "Heads of " + std::to_string(layer.head.key_dim) + " and " + std::to_string(layer.head.value_dim) +
                                                      " elements have no packed layout: both have to be multiples of " + std::to_string(kDimStep));
}

}  // namespace

Napi::Value outline_model_of(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const std::string path = info[0].As<Napi::String>();
        const Tier tier = tier_of(info[1].As<Napi::Object>());
        return PromiseWorker::run(info.Env(), info.This().As<Napi::Object>(), [path, tier]() -> PromiseWorker::Result {
            return [outline = outline_model(path, tier)](Napi::Env env) { return outline_to_js(env, outline); };
        });
    });
}

Napi::Value forecast(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const ModelShape shape = shape_of(info[0].As<Napi::Object>());
        const Napi::Object config = info[2].As<Napi::Object>();
        const Load load{count_of(config, "sequences", 1 << 16), size_t(count_of(config, "tokens", INT32_MAX)), count_of(config, "batchSize", INT32_MAX),
                        size_t(count_of(config, "sharedTokens", INT32_MAX, 0)), count_of(config, "groups", 1 << 16, 1)};
        const double token_bytes = double(Layers(shape.attention).stock_bytes_per_token() + Layers(shape.windows).stock_bytes_per_token());
        if (load.sequences * (double(load.tokens) * token_bytes + double(shape.state_bytes)) > kMostBytes) throw CodedError("OPTION_INVALID", "The sequences have too many tokens for a forecast");
        if (load.shared > load.tokens) throw CodedError("OPTION_INVALID", "sharedTokens can't be more than tokens");
        Napi::Object result = Napi::Object::New(info.Env());
        result.Set("stockBytes", double(stock_bytes(shape, load)));
        result.Set("bytesBeside", double(shape.state_bytes * load.sequences));
        result.Set("residentBytes", info.Env().Null());
        result.Set("parts", info.Env().Null());
        if (!info[1].IsObject()) return result;
        for (const auto& layers : {shape.attention, shape.windows}) require_coded(layers);
        const Forecast packed = deltastore::forecast(shape, tier_of(info[1].As<Napi::Object>()), load);
        Napi::Object parts = Napi::Object::New(info.Env());
        parts.Set("packed", double(packed.packed));
        parts.Set("window", double(packed.window));
        parts.Set("sinks", double(packed.sinks));
        result.Set("residentBytes", double(packed.resident));
        result.Set("parts", parts);
        return result;
    });
}

}  // namespace deltastore
