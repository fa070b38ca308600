// Llama.cpp's internal headers, and the private members that the hook needs. Nothing else in the tree may reach for more.
//
// Explicit instantiation may name private members ([temp.spec]/6); the friend function carries the pointer out.
#pragma once

#include <type_traits>
#include <utility>

#include "ggml-backend-impl.h"
#include "ggml-cpu/traits.h"
#include "llama-batch.h"
#include "llama-context.h"
#include "llama-hparams.h"
#include "llama-io.h"
#include "llama-kv-cache-iswa.h"
#include "llama-kv-cache.h"
#include "llama-memory-hybrid-iswa.h"
#include "llama-memory-hybrid.h"
#include "llama-memory-recurrent.h"
#include "llama-memory.h"
#include "llama-model.h"

namespace deltastore::access {

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-template-friend"
template <typename Tag, auto Member>
struct Expose {
    friend constexpr auto member(Tag) { return Member; }
};

#define DELTASTORE_EXPOSE(tag, pointer)   \
    struct tag {                          \
        friend constexpr auto member(tag); \
    };                                    \
    template struct Expose<tag, pointer>

DELTASTORE_EXPOSE(ContextParameters, &llama_context::cparams);
DELTASTORE_EXPOSE(ContextMemory, &llama_context::memory);
DELTASTORE_EXPOSE(ContextOutputIds, &llama_context::output_ids);
DELTASTORE_EXPOSE(ContextNeedsReserve, &llama_context::sched_need_reserve);
DELTASTORE_EXPOSE(CacheLayers, &llama_kv_cache::layers);
DELTASTORE_EXPOSE(CacheRotatesKeys, &llama_kv_cache::attn_rot_k);
DELTASTORE_EXPOSE(CacheRotatesValues, &llama_kv_cache::attn_rot_v);
DELTASTORE_EXPOSE(BatchCells, &llama_kv_cache_context::n_kv);
DELTASTORE_EXPOSE(IswaBase, &llama_kv_cache_iswa::kv_base);
DELTASTORE_EXPOSE(IswaWindow, &llama_kv_cache_iswa::kv_swa);
DELTASTORE_EXPOSE(HybridAttention, &llama_memory_hybrid::mem_attn);
DELTASTORE_EXPOSE(HybridRecurrent, &llama_memory_hybrid::mem_recr);
#undef DELTASTORE_EXPOSE
#pragma GCC diagnostic pop

// Whether llama.cpp saves a llama_kv_cell_ext with each cell. Releases before v0.4.0 go by the parts of a position, and have no method that tells.
template <class KvCache, class = void>
struct CellExtension {
    static bool is_saved(const KvCache&, const llama_hparams& hparams) { return hparams.n_pos_per_embd() > 1; }
};
template <class KvCache>
struct CellExtension<KvCache, std::void_t<decltype(std::declval<const KvCache&>().has_cell_ext())>> {
    static bool is_saved(const KvCache& cache, const llama_hparams&) { return cache.has_cell_ext(); }
};

}  // namespace deltastore::access
