#include "graph_ops.h"

#include <dlfcn.h>

#include <cmath>
#include <cstring>
#include <map>
#include <mutex>

#include "failure.h"
#include "ggml-backend.h"
#include "ggml-cpu/traits.h"
#include "ggml-impl.h"
#include "llama.h"

// Their only definitions are in the CPU library of the processor's kind, which isn't linked.
ggml::cpu::tensor_traits::~tensor_traits() = default;
ggml::cpu::extra_buffer_type::~extra_buffer_type() = default;

namespace deltastore {

namespace {

ggml_backend_buffer_type g_buffer_type{};

PackedBuffer* packed_buffer(const ggml_tensor* tensor) {
    if (tensor == nullptr) return nullptr;
    const ggml_tensor* base = tensor->view_src ? tensor->view_src : tensor;
    if (base->buffer == nullptr || base->buffer->buft != &g_buffer_type) return nullptr;
    return static_cast<PackedBuffer*>(base->buffer->context);
}

const PackedBuffer::Role* packed_role(const ggml_tensor* tensor) {
    const PackedBuffer* buffer = packed_buffer(tensor);
    return buffer ? buffer->role_of(tensor->view_src ? tensor->view_src : tensor) : nullptr;
}

void write_rows(const ggml_compute_params* params, const ggml_tensor* op) {
    const PackedBuffer* buffer = packed_buffer(op->src[2]);
    const PackedBuffer::Role* role = packed_role(op->src[2]);
    const LayerShape& shape = buffer->cache->options().layers[role->layer];
    const int dim = role->values ? shape.head.value_dim : shape.head.key_dim;
    const RowsView rows{static_cast<const float*>(op->src[0]->data), op->src[0]->nb[1], dim * sizeof(float)};
    if (role->values) buffer->cache->write_values(role->layer, rows, params->ith, params->nth);
    else buffer->cache->write_keys(role->layer, rows, params->ith, params->nth);
}

void attend(const ggml_compute_params* params, ggml_tensor* op) {
    const PackedBuffer* buffer = packed_buffer(op->src[1]);
    const PackedBuffer::Role* role = packed_role(op->src[1]);
    const ggml_tensor* query = op->src[0];
    float scalars[3];  // scale, ALiBi's largest bias, soft cap
    std::memcpy(scalars, op->op_params, sizeof scalars);
    AttentionInput input;
    input.queries = {static_cast<const float*>(query->data), query->nb[1], query->nb[2]};
    input.output = static_cast<float*>(op->data);
    input.output_head_stride = op->nb[1];
    input.output_token_stride = op->nb[2];
    input.scale = scalars[0];
    input.soft_cap = scalars[2];
    if (scalars[1] > 0) input.slopes = buffer->slopes[role->layer].data();
    if (op->src[4] != nullptr) input.sink_scores = static_cast<const float*>(op->src[4]->data);
    buffer->cache->attend(role->layer, input, params->ith, params->nth);
}

struct PackedTraits final : ggml::cpu::tensor_traits {
    bool work_size(int, const ggml_tensor*, size_t& size) override {
        size = 0;
        return true;
    }
    bool compute_forward(ggml_compute_params* params, ggml_tensor* op) override {
        if (op->op == GGML_OP_SET_ROWS) write_rows(params, op);
        else attend(params, op);
        return true;
    }
};

struct PackedBufferType final : ggml::cpu::extra_buffer_type {
    PackedTraits traits;
    // Anything else on a packed tensor is found and refused by graph_is_served(); ggml would abort. The model loader asks about
    // weights in an empty buffer of every registered type: those are not for us.
    bool supports_op(ggml_backend_dev_t, const ggml_tensor* op) override {
        for (const ggml_tensor* source : op->src)
            if (packed_role(source)) return true;
        return false;
    }
    ggml::cpu::tensor_traits* get_tensor_traits(const ggml_tensor* op) override {
        if (op->op == GGML_OP_SET_ROWS && packed_buffer(op->src[2])) return &traits;
        if (op->op == GGML_OP_FLASH_ATTN_EXT && packed_buffer(op->src[1])) return &traits;
        return nullptr;
    }
};

std::string library_of(const void* symbol) {
    Dl_info info;
    return dladdr(symbol, &info) && info.dli_fname ? info.dli_fname : "";
}

}  // namespace

RuntimeLibraries install_graph_ops() {
    static std::mutex mutex;
    static std::string llama_path, cpu_path;
    std::lock_guard<std::mutex> guard(mutex);
    if (cpu_path.empty()) {
        ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
        if (device == nullptr) throw CodedError("RUNTIME_UNSUPPORTED", "llama.cpp has no CPU backend loaded");
        const std::string path = library_of(reinterpret_cast<const void*>(device->iface.get_name));
        void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
        using Registry = std::vector<ggml_backend_buffer_type_t>& (*)();
        const auto registry = reinterpret_cast<Registry>(
            library ? dlsym(library, "_Z39ggml_backend_cpu_get_extra_buffer_typesv") : nullptr);
        if (registry == nullptr)
            throw CodedError("RUNTIME_UNSUPPORTED", "The CPU backend (" + path + ") doesn't export its list of buffer types");

        static PackedBufferType type;
        g_buffer_type.iface.get_name = [](ggml_backend_buffer_type_t) { return "DeltaStore"; };
        g_buffer_type.iface.alloc_buffer = [](ggml_backend_buffer_type_t, size_t size) -> ggml_backend_buffer_t {
            static PackedBuffer empty;
            return size == 0 ? make_packed_buffer(empty) : nullptr;
        };
        g_buffer_type.iface.get_alignment = [](ggml_backend_buffer_type_t) -> size_t { return 64; };
        g_buffer_type.iface.is_host = [](ggml_backend_buffer_type_t) { return false; };
        g_buffer_type.device = device;
        g_buffer_type.context = static_cast<ggml::cpu::extra_buffer_type*>(&type);

        // A context of another thread may be reading the list while it computes. Where the list has to move, its old array stays
        // allocated (a few bytes, once); a reader between the vector's own two assignments can't be ruled out.
        std::vector<ggml_backend_buffer_type_t>& list = registry();
        if (list.size() < list.capacity()) {
            list.push_back(&g_buffer_type);
        } else {
            auto* grown = new std::vector<ggml_backend_buffer_type_t>(list);
            grown->push_back(&g_buffer_type);
            list.swap(*grown);
        }
        llama_path = library_of(reinterpret_cast<const void*>(&llama_backend_init));
        cpu_path = path;
    }
    return {llama_path.c_str(), cpu_path.c_str()};
}

const PackedBuffer::Role* PackedBuffer::role_of(const ggml_tensor* tensor) const {
    for (const Role& role : roles)
        if (role.tensor == tensor) return &role;
    return nullptr;
}

ggml_backend_buffer_t make_packed_buffer(PackedBuffer& buffer) {
    ggml_backend_buffer_i interface{};
    interface.get_base = [](ggml_backend_buffer_t self) -> void* { return static_cast<PackedBuffer*>(self->context)->region.data(); };
    interface.clear = [](ggml_backend_buffer_t, uint8_t) {};
    interface.memset_tensor = [](ggml_backend_buffer_t, ggml_tensor*, uint8_t, size_t, size_t) {};
    interface.set_tensor = [](ggml_backend_buffer_t, ggml_tensor*, const void*, size_t, size_t) {};
    interface.get_tensor = [](ggml_backend_buffer_t, const ggml_tensor*, void* target, size_t, size_t size) {
        std::memset(target, 0, size);
    };
    return ggml_backend_buffer_init(&g_buffer_type, interface, &buffer, buffer.region.size());
}

bool graph_is_served(ggml_cgraph* graph, std::string& reason) {
    std::map<const PackedBuffer::Role*, int> stored, attended;  // how often, an ubatch
    const auto stores = [&](const ggml_tensor* tensor) { return packed_role(tensor) && ++stored[packed_role(tensor)] == 1; };
    const auto attends = [&](const ggml_tensor* tensor) {
        const PackedBuffer::Role* role = packed_role(tensor);
        return role && ++attended[role] <= packed_buffer(tensor)->cache->layers()[role->layer].attentions;
    };
    // Keys and values of one layer, or latent keys and a view of their first elements.
    const auto has_shape = [&](const ggml_tensor* query, const ggml_tensor* keys, const ggml_tensor* values) {
        const PackedBuffer::Role *of_keys = packed_role(keys), *of_values = packed_role(values);
        if (of_values == nullptr || of_keys->values || of_values->layer != of_keys->layer) return false;
        const HeadShape& head = packed_buffer(keys)->cache->layers()[of_keys->layer].head;
        return of_values->values != head.latent && query->ne[0] == head.key_dim && values->ne[0] == head.value_dim && (!head.latent || values->view_offs == 0);
    };
    for (int n = 0; n < ggml_graph_n_nodes(graph); n++) {
        const ggml_tensor* node = ggml_graph_node(graph, n);
        bool reads = false;
        for (int s = 0; s < GGML_MAX_SRC && !reads; s++) reads = packed_buffer(node->src[s]) != nullptr;
        if (!reads) continue;
        switch (node->op) {
            case GGML_OP_NONE:
            case GGML_OP_VIEW:
            case GGML_OP_PERMUTE:
            case GGML_OP_RESHAPE:
            case GGML_OP_TRANSPOSE:
                continue;
            case GGML_OP_SET_ROWS:
                if (stores(node->src[2]) && node->src[0]->type == GGML_TYPE_F32 && node->src[0]->nb[0] == sizeof(float)) continue;
                break;
            case GGML_OP_FLASH_ATTN_EXT:
                if (attends(node->src[1]) && has_shape(node->src[0], node->src[1], node->src[2]) && node->src[0]->type == GGML_TYPE_F32 &&
                    node->src[0]->ne[3] == 1 && node->src[0]->nb[0] == sizeof(float))
                    continue;
                break;
            default:
                break;
        }
        reason = std::string("its graph uses the cache in the operation ") + ggml_op_name(node->op) + " (" + node->name + ")";
        return false;
    }
    return true;
}

std::vector<float> alibi_slopes(int heads, float max_bias) {
    if (heads <= 0) return {};
    const int power = 1 << int(std::floor(std::log2(float(heads))));
    const float first = std::pow(2.0f, -max_bias / power), second = std::pow(2.0f, -(max_bias / 2) / power);
    std::vector<float> slopes(heads);
    for (int h = 0; h < heads; h++) slopes[h] = h < power ? std::pow(first, h + 1) : std::pow(second, 2 * (h - power) + 1);
    return slopes;
}

}  // namespace deltastore
