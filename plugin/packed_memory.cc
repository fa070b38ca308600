#include "packed_memory.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "archive/key_turns.h"
#include "failure.h"
#include "snapshot/parts.h"
#include "snapshot/state.h"

namespace deltastore {

namespace {

// What llama.cpp asks while it computes a batch: one step an ubatch.
class PackedBatch final : public llama_kv_cache_context {
public:
    explicit PackedBatch(llama_memory_status status) : llama_kv_cache_context(status) {}
    // For reserving graphs, nothing is computed.
    explicit PackedBatch(PackedMemory* memory) : llama_kv_cache_context(memory) { this->*member(access::BatchCells{}) = 1; }
    PackedBatch(PackedMemory* memory, std::unique_ptr<OpenBatch> open, llama_kv_cache::slot_info_vec_t slots, std::vector<llama_ubatch> ubatches)
        : llama_kv_cache_context(memory, std::move(slots), std::move(ubatches)), open_(std::move(open)) {
        this->*member(access::BatchCells{}) = 1;
    }

    bool next() override {
        open_->finish();
        return llama_kv_cache_context::next();
    }

    // Updates of memories with more parts apply this one's, too, where there is nothing to do.
    bool apply() override { return open_ == nullptr || open_->start(); }

private:
    std::unique_ptr<OpenBatch> open_;
};

std::unique_ptr<llama_hparams> packed_hparams_of(const llama_model& model) {
    auto hparams = std::make_unique<llama_hparams>(model.hparams);
    hparams->no_alloc = true;  // no cache of llama.cpp's own behind the tensors
    return hparams;
}

}  // namespace

// Models whose positions have several parts (M-RoPE) are judged as if none turned.
static std::vector<Turn> far_turns(const llama_hparams& hparams, KeyTurn& turn, const std::vector<uint32_t>& layer_ids,
                                   const std::vector<LayerShape>& layers) {
    constexpr int kFrom = 64, kTo = 512, kStep = 64;
    std::vector<Turn> turns;
    for (size_t layer = 0; layer < layers.size(); layer++) {
        if (hparams.rope_type == LLAMA_ROPE_TYPE_NONE || !hparams.has_rope(layer_ids[layer]) || hparams.n_pos_per_embd() > 1) {
            turns.push_back(nullptr);
            continue;
        }
        const int dim = layers[layer].head.key_dim;
        std::vector<float> mean(size_t(dim) * dim);
        for (int distance = kFrom; distance <= kTo; distance += kStep) {
            std::vector<float> basis(mean.size());
            for (int d = 0; d < dim; d++) basis[size_t(d) * dim + d] = 1;
            turn.turn(int(layer_ids[layer]), basis.data(), dim, dim, distance);
            for (size_t i = 0; i < mean.size(); i++) mean[i] += basis[i] * kStep / kTo;
        }
        // Layers mostly turn alike.
        const bool same = !turns.empty() && turns.back() != nullptr && *turns.back() == mean;
        turns.push_back(same ? turns.back() : std::make_shared<const std::vector<float>>(std::move(mean)));
    }
    return turns;
}

// Turns each element by one position, and sees where it goes.
static std::vector<TurnedPair> turned_pairs(KeyTurn& turn, int layer, int dim) {
    std::vector<float> basis(size_t(dim) * dim);
    for (int d = 0; d < dim; d++) basis[size_t(d) * dim + d] = 1;
    turn.turn(layer, basis.data(), dim, dim, 1);
    std::vector<TurnedPair> pairs;
    for (int i = 0; i < dim; i++)
        for (int j = i + 1; j < dim; j++) {
            const float across = basis[size_t(i) * dim + j];
            if (across != 0) pairs.push_back({uint16_t(i), uint16_t(j), std::atan2(across, basis[size_t(i) * dim + i])});
        }
    return pairs;
}

// Rows of windows are saved beside those of the attention, which tell what both are made with.
static constexpr uint64_t kOriginBeside = 1;

// The nominal types make sure that no GPU backend takes the attention over; that they also turn on llama.cpp's own rotation is undone. Latent keys
// are values, too.
static ggml_type key_type_of(const llama_model& model) { return model.hparams.is_mla() ? GGML_TYPE_Q2_0 : GGML_TYPE_Q4_0; }

PackedMemory::PackedMemory(llama_context& context, CacheOptions options, const std::vector<uint32_t>& layer_ids, size_t context_cells,
                           int ubatch_tokens, const layer_reuse_cb& reuse, const PackedMemory* attention)
    : HparamsHolder{packed_hparams_of(context.get_model())},
      llama_kv_cache(context.get_model(), *packed_hparams, key_type_of(context.get_model()), GGML_TYPE_Q2_0, /*v_trans*/ false, /*offload*/ false,
                     /*unified*/ true, /*kv_size*/ 1, options.max_sequences, /*n_pad*/ 1, /*n_swa*/ 0, LLAMA_SWA_TYPE_NONE, nullptr,
                     reaching(layer_ids, reuse), reuse, nullptr),
      context_(context),
      is_window_(attention != nullptr),
      turn_(context),
      layer_ids_(layer_ids),
      context_cells_(context_cells),
      projected_bytes_(deltastore::projected_bytes(options, context_cells, options.max_sequences, ubatch_tokens)),
      fingerprint_(attention ? attention->fingerprint_ : model_fingerprint(context.get_model())),
      model_hash_(attention ? kOriginBeside : 0) {
    llama_kv_cache& base = *this;
    base.*member(access::CacheRotatesKeys{}) = false;
    base.*member(access::CacheRotatesValues{}) = false;
    options.rotate = options.packs();
    if (options.eviction) options.far_turns = far_turns(context.get_model().hparams, turn_, layer_ids, options.layers);
    cache_ = std::make_shared<Cache>(std::move(options), *select_kernels(), attention ? attention->cache_->budget() : nullptr);
    kept_states_ = std::make_unique<KeptStates>(*cache_);
    buffer_.cache = cache_.get();
    size_t bytes = 0;
    auto& layers = base.*member(access::CacheLayers{});
    for (auto& layer : layers) bytes += ggml_nbytes(layer.k) + (layer.v ? ggml_nbytes(layer.v) : 0) + 128;
    buffer_.region.resize(bytes + 64);
    ggml_buffer_.reset(make_packed_buffer(buffer_));
    uint8_t* address = buffer_.region.data();
    int index = 0;
    for (auto& layer : layers) {
        const auto place = [&](ggml_tensor* tensor, std::vector<ggml_tensor*>& views, bool values) {
            tensor->buffer = ggml_buffer_.get();
            tensor->data = address;
            for (ggml_tensor* view : views) {
                view->buffer = ggml_buffer_.get();
                view->data = address;
            }
            buffer_.roles.push_back({tensor, index, values});
            address += (ggml_nbytes(tensor) + 63) / 64 * 64;
        };
        place(layer.k, layer.k_stream, false);
        if (layer.v) place(layer.v, layer.v_stream, true);  // latent keys are their own values
        buffer_.slopes.push_back(alibi_slopes(cache_->options().layers[index].query_heads, context.get_model().hparams.f_max_alibi_bias));
        index++;
    }
}

PackedMemory::~PackedMemory() = default;

void PackedMemory::fail(const char* code, const std::string& message) const {
    std::lock_guard<std::mutex> guard(failure_mutex_);
    failure_ = {code, message};
}

void PackedMemory::fail(Failure failure) const {
    if (failure == Failure::none) return;
    FailureReport report = this->report(failure);
    std::lock_guard<std::mutex> guard(failure_mutex_);
    failure_ = std::move(report);
}

FailureReport PackedMemory::report(Failure failure) const {
    if (failure == Failure::none) return {};
    if (failure == Failure::out_of_memory) return {"OUT_OF_MEMORY", "The system gave no memory for pages"};
    const size_t missing = cache_->missing_bytes();
    return {"POOL_LIMIT_REACHED", "The request needs at least " + std::to_string(missing) +
                                      " bytes more than are left of the pool's limit of " + std::to_string(cache_->budget()->limit_bytes()) +
                                      " bytes (policy: pool.limit), of which " + std::to_string(cache_->charged_bytes()) +
                                      " are in use. It may be tried again once other sequences are disposed or smaller. A shorter prompt or batch needs less", missing};
}

FailureReport PackedMemory::take_failure() const {
    std::lock_guard<std::mutex> guard(failure_mutex_);
    return std::exchange(failure_, {});
}

size_t PackedMemory::stock_bytes(size_t tokens) const {
    return cache_->options().sliding_window.stock_cells(tokens, context_.n_ubatch()) * cache_->layers().stock_bytes_per_token();
}

std::unique_ptr<OpenBatch> PackedMemory::open_batch(const std::vector<llama_ubatch>& ubatches) {
    std::unique_lock<std::mutex> computing(computing_);
    try {
        const size_t most_tokens = context_cells_ / cache_->options().max_sequences;
        std::vector<std::vector<Token>> tokens(ubatches.size());
        std::vector<size_t> added(cache_->table().sequences());
        for (size_t u = 0; u < ubatches.size(); u++) {
            for (uint32_t i = 0; i < ubatches[u].n_tokens; i++) {
                const llama_seq_id sequence = ubatches[u].seq_id[i][0];
                if (ubatches[u].n_seq_id[i] != 1 || !known(sequence)) {
                    fail("OPTION_INVALID", "A token must belong to exactly one of the context's " + std::to_string(added.size()) + " sequences");
                    return nullptr;
                }
                if (added[sequence]++ == 0 && ubatches[u].pos[i] != cache_->last_position(sequence) + 1) {
                    fail("OPTION_INVALID", "The first token of sequence " + std::to_string(sequence) + " has position " +
                                               std::to_string(ubatches[u].pos[i]) + "; the next one is " +
                                               std::to_string(cache_->last_position(sequence) + 1));
                    return nullptr;
                }
                tokens[u].push_back({sequence, ubatches[u].pos[i]});
            }
        }
        for (int sequence = 0; sequence < int(added.size()); sequence++) {
            if (added[sequence] == 0) continue;
            if (cache_->has_shift(sequence)) return nullptr;  // init_update said why
            const size_t held = cache_->table().tokens(sequence);
            if (held + added[sequence] > most_tokens) {
                fail("CONTEXT_FULL", "Sequence " + std::to_string(sequence) + " holds " + std::to_string(held) + " tokens and gets " +
                                         std::to_string(added[sequence]) + "; it has room for " + std::to_string(most_tokens));
                return nullptr;
            }
        }
        const Failure failure = cache_->reserve(tokens);
        if (failure != Failure::none) {
            fail(failure);
            return nullptr;
        }
        const int threads = int(std::max(context_.n_threads(), context_.n_threads_batch()));
        if (!is_window_) threads_.fit(context_, threads);
        return std::make_unique<OpenBatch>(*this, std::move(computing), threads);
    } catch (const std::bad_alloc&) {
        cache_->abandon();
        fail(Failure::out_of_memory);
        return nullptr;
    }
}

llama_memory_context_ptr PackedMemory::init_batch(llama_batch_allocr& balloc, uint32_t n_ubatch, bool) {
    auto ubatches = cut_batch(balloc, [&] { return balloc.split_simple(n_ubatch); });
    auto open = open_batch(ubatches);
    if (open == nullptr) return std::make_unique<PackedBatch>(LLAMA_MEMORY_STATUS_FAILED_PREPARE);
    slot_info_vec_t slots = dummy_slots(ubatches);
    return std::make_unique<PackedBatch>(this, std::move(open), std::move(slots), std::move(ubatches));
}

void PackedMemory::evict(int sequence, const Eviction& how) {
    const WatchedQueries needed = how.scorer->watch;
    if (!known(sequence)) throw CodedError("OPTION_INVALID", "The context has no sequence " + std::to_string(sequence));
    const auto& own = cache_->tier(sequence).eviction;
    if (needed != WatchedQueries::none && (!own || own->scorer->watch != needed))
        throw CodedError("OPTION_INVALID", std::string("The scorer is \"") + how.scorer->name + "\", for which tier \"" + cache_->tier(sequence).name +
                                               "\" does not watch the attention; it can evict by " +
                                               (!own || own->scorer->watch == WatchedQueries::none ? "" :
                                                own->scorer->watch == WatchedQueries::all ? "\"attention\", \"h2o\" and " : "\"snapkv\" and ") +
                                               "\"recency\"");
    if (context_.get_model().hparams.f_max_alibi_bias > 0)
        throw CodedError("MODEL_UNSUPPORTED", "it has ALiBi, which needs every row's own position, so that rows can't be evicted");
    std::lock_guard<std::mutex> computing(computing_);
    if (cache_->evict(sequence, how)) return;
    const Failure failure = cache_->table().pool().refusal();
    throw CodedError(failure == Failure::pool_limit ? "POOL_LIMIT_REACHED" : "OUT_OF_MEMORY",
                     "There was no page to move rows into; what could not be moved stays. " + report(failure).message);
}

int PackedMemory::ready_tier(int sequence, const std::string& name) {
    const int index = cache_->tiers().index(name);
    if (index < 0 || !known(sequence)) throw CodedError("OPTION_INVALID", "The context has no tier " + name + " for sequence " + std::to_string(sequence));
    const Tier& tier = cache_->tiers().at(index);
    if (tier.eviction && context_.get_model().hparams.f_max_alibi_bias > 0)
        throw CodedError("MODEL_UNSUPPORTED", "it has ALiBi, which needs every row's own position, so that rows can't be evicted; choose a tier "
                                              "without `evict`");
    if (tier.eviction && !cache_->heads().ready()) {
        KeyTurn turn(context_);  // the other may be in use
        cache_->ready_heads(far_turns(context_.get_model().hparams, turn, layer_ids_, cache_->options().layers));
    }
    return index;
}

void PackedMemory::set_tier(int sequence, const std::string& name) {
    cache_->set_tier(sequence, ready_tier(sequence, name));
}

void PackedMemory::repack(int sequence, int window) {
    std::lock_guard<std::mutex> computing(computing_);
    const Failure failure = cache_->repack(sequence, std::min(window, cache_->tier(sequence).window));
    if (failure == Failure::none) return;
    const FailureReport report = this->report(failure);
    throw CodedError(report.code, report.message);
}

const Bytes& PackedMemory::key_turns() {
    const llama_hparams& hparams = context_.get_model().hparams;
    if (!key_turns_.empty() || hparams.n_pos_per_embd() > 1) return key_turns_;
    KeyTurn turn(context_);  // the other may be in use
    std::vector<std::vector<TurnedPair>> layers;
    for (size_t layer = 0; layer < layer_ids_.size(); layer++)
        layers.push_back(turned_pairs(turn, int(layer_ids_[layer]), cache_->options().layers[layer].head.key_dim));
    Writer writer = writer_to(key_turns_);
    KeyTurns(layers).write(writer);
    return key_turns_;
}

std::shared_ptr<Snapshot> PackedMemory::snapshot(int sequence) {
    if (!known(sequence)) throw CodedError("OPTION_INVALID", "The context has no sequence " + std::to_string(sequence));
    std::lock_guard<std::mutex> computing(computing_);
    init_update(nullptr, false);
    if (cache_->has_shift(sequence)) throw CodedError("OUT_OF_MEMORY", "Keys could not follow a context shift");
    return std::make_shared<Snapshot>(cache_, known_origin(), sequence);
}

Restored PackedMemory::restore(int sequence, const std::string& tier, const SnapshotParts& parts) {
    const int index = ready_tier(sequence, tier);
    std::lock_guard<std::mutex> computing(computing_);
    return restore_snapshot(*cache_, known_origin(), fingerprint_, sequence, index, context_cells_ / cache_->options().max_sequences, parts);
}

void PackedMemory::set_origin(uint64_t model, uint64_t adapters) {
    std::lock_guard<std::mutex> guard(origin_mutex_);
    model_hash_ = model;
    adapters_hash_ = adapters;
}

// As llama_model::get_rope_factors() chooses.
static bool takes_long_factors(const llama_model& model, const llama_cparams& settings) {
    const auto has = [](const llama_layer& layer) { return layer.rope_freqs == nullptr && layer.rope_long != nullptr; };
    return settings.n_ctx_seq > model.hparams.n_ctx_orig_yarn && std::any_of(model.layers.begin(), model.layers.end(), has);
}

Origin PackedMemory::origin() const {
    const llama_cparams& settings = context_.get_cparams();
    std::lock_guard<std::mutex> guard(origin_mutex_);
    return {model_hash_,
            {settings.rope_freq_base, settings.rope_freq_scale, settings.yarn_ext_factor, settings.yarn_attn_factor, settings.yarn_beta_fast,
             settings.yarn_beta_slow, settings.n_ctx_orig_yarn, takes_long_factors(context_.get_model(), settings)},
            adapters_hash_};
}

Origin PackedMemory::known_origin() const {
    const Origin origin = this->origin();
    if (origin.model == 0) throw CodedError("NATIVE_FAILURE", "What the context's rows are made with was not told");
    return origin;
}

llama_memory_context_ptr PackedMemory::init_full() {
    return std::make_unique<PackedBatch>(this);
}

llama_memory_context_ptr PackedMemory::init_update(llama_context*, bool) {
    try {
        fail(cache_->apply_shifts([this](int layer, float* keys, int rows, int32_t delta) {
            const auto& shape = cache_->options().layers[layer];
            turn_.turn(int((this->*member(access::CacheLayers{}))[layer].il), keys, rows, shape.head.key_dim, delta);
        }));
    } catch (const CodedError& error) {
        fail(error.code(), error.what());
    } catch (const std::bad_alloc&) {
        fail(Failure::out_of_memory);
    }
    return std::make_unique<PackedBatch>(LLAMA_MEMORY_STATUS_NO_UPDATE);
}

void PackedMemory::clear(bool) {
    seq_rm(-1, -1, -1);
}

bool PackedMemory::seq_rm(llama_seq_id sequence, llama_pos from, llama_pos to) {
    const int32_t first = std::max(from, 0), end = to < 0 ? INT32_MAX : to;
    if (sequence >= 0 && !known(sequence)) return true;
    for (int s = 0; s < cache_->table().sequences(); s++) {
        if (sequence >= 0 && s != sequence) continue;
        cache_->erase(s, first, end);
        if (is_kept(s)) kept_states_->drop(s);
    }
    return true;
}

void PackedMemory::seq_cp(llama_seq_id source, llama_seq_id target, llama_pos from, llama_pos to) {
    if (!known(source) || !known(target)) return;
    Failure failure = Failure::out_of_memory;
    try {
        failure = cache_->fork(source, target, std::max(from, 0), to < 0 ? INT32_MAX : to);
    } catch (const std::bad_alloc&) {  // llama.cpp's callers expect no exception
    }
    if (failure != Failure::none) cache_->erase(target, 0, INT32_MAX);
    fail(failure);
}

void PackedMemory::seq_keep(llama_seq_id sequence) {
    for (int s = 0; s < cache_->table().sequences(); s++)
        if (s != sequence) seq_rm(s, -1, -1);
}

void PackedMemory::seq_add(llama_seq_id sequence, llama_pos from, llama_pos to, llama_pos delta) {
    if (!known(sequence) || delta == 0) return;
    if (!get_can_shift()) {  // positions would no longer be those of the keys
        fail("SHIFT_UNSUPPORTED", "This model's positions can't be shifted; the sequence was cleared");
        cache_->erase(sequence, 0, INT32_MAX);
        return;
    }
    cache_->shift(sequence, std::max(from, 0), to < 0 ? INT32_MAX : to, delta);
}

void PackedMemory::seq_div(llama_seq_id sequence, llama_pos, llama_pos, int divisor) {
    if (!known(sequence) || divisor == 1) return;
    fail("SHIFT_UNSUPPORTED", "Dividing positions is not supported; the sequence was cleared");
    cache_->erase(sequence, 0, INT32_MAX);
}

llama_pos PackedMemory::seq_pos_min(llama_seq_id sequence) const {
    return known(sequence) ? cache_->first_position(sequence) : -1;
}

llama_pos PackedMemory::seq_pos_max(llama_seq_id sequence) const {
    return known(sequence) ? cache_->last_position(sequence) : -1;
}

std::map<ggml_backend_buffer_type_t, size_t> PackedMemory::memory_breakdown() const {
    return {{ggml_backend_cpu_buffer_type(), projected_bytes_}};
}

void PackedMemory::state_write(llama_io_write_i& io, llama_seq_id sequence, llama_state_seq_flags) const {
    std::vector<int> sequences;
    for (int s = 0; s < cache_->options().max_sequences; s++)
        if (sequence < 0 || s == sequence) sequences.push_back(s);
    const_cast<PackedMemory*>(this)->init_update(nullptr, false);
    for (int s : sequences)
        if (cache_->has_shift(s)) throw CodedError("OUT_OF_MEMORY", "Keys could not follow a context shift");
    write_state(*cache_, origin(), sequences, [&](const void* bytes, size_t count) { io.write(bytes, count); });
}

void PackedMemory::state_read(llama_io_read_i& io, llama_seq_id sequence, llama_state_seq_flags) {
    if (sequence >= 0) cache_->erase(sequence, 0, INT32_MAX);
    else cache_->clear();
    try {
        read_state(*cache_, known_origin(), fingerprint_, sequence, context_cells_ / cache_->options().max_sequences,
                   [&](void* bytes, size_t count) { io.read(bytes, count); });
    } catch (const CodedError& error) {
        fail(error.code(), error.what());
        throw;
    } catch (const std::bad_alloc&) {
        fail(Failure::out_of_memory);
        throw;
    }
}

uint64_t model_fingerprint(const llama_model& model) {
    if (model.hparams.no_alloc) return 0;
    uint64_t hash = 0xcbf29ce484222325ull;
    const auto add = [&](const void* bytes, size_t count) {
        for (size_t i = 0; i < count; i++) hash = (hash ^ static_cast<const uint8_t*>(bytes)[i]) * 0x100000001b3ull;
    };
    for (const auto& [name, tensor] : model.tensors_by_name) {
        add(name.data(), name.size());
        add(&tensor->type, sizeof tensor->type);
        add(tensor->ne, sizeof tensor->ne);
        if (tensor->type != GGML_TYPE_F32 || tensor->buffer == nullptr) continue;
        std::vector<uint8_t> values(std::min<size_t>(ggml_nbytes(tensor), 65536));
        ggml_backend_tensor_get(tensor, values.data(), 0, values.size());  // it may be on a device
        add(values.data(), values.size());
    }
    return hash;
}

}  // namespace deltastore
