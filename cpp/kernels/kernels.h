// One table of functions an instruction set. `scalar` is the definition; the others are tested against it.
#pragma once

#include <cstdint>

#include "format/format.h"

namespace deltastore {

// Queries that read the same KV head: `count` = tokens of one sequence x query heads of the group.
struct QueryBlock {
    int count = 0;
    const float* query = nullptr;       // [count][key_dim], rotated, scaled by the attention's scale
    const int8_t* codes = nullptr;      // [count][key_dim], the same at 7 bits
    const float* code_scales = nullptr; // [count][key_groups]: query is about code x scale; the key step is in it
    const int32_t* code_sums = nullptr; // [count][key_groups]: sum of the codes
    const float* centre_scores = nullptr;  // [count]: query . the vector taken from the page's keys
    const int32_t* positions = nullptr; // [count]
    const int32_t* first_seen = nullptr;   // [count]: rows of earlier positions are hidden; null where all are seen
    const float* slopes = nullptr;      // [count], ALiBi; 0 without
    float soft_cap = 0;                 // 0: none. Scores become cap x tanh(score / cap); the query is then not divided
    // Running softmax, updated page by page (Milakov & Gimelshein 2018, "Online normalizer calculation for softmax").
    float* maxima = nullptr;  // [count], -inf at first
    float* sums = nullptr;    // [count], 0 at first
    float* output = nullptr;  // [count][value_dim], 0 at first; divided by the sum at the end
    // If set, the softmax is done: nothing of the above changes, and each row's weights, over all queries that are at most `reach` positions
    // ahead of it, are added to received[row].
    float* received = nullptr;  // [kPageRows]
    int32_t reach = INT32_MAX;
};

// The rows of one page reference.
struct PageRows {
    const uint8_t* page;
    const PageLayout* layout;
    HeadShape shape;
    Format format;
    int rows;   // that the page has room for: kPageRows if coded, or kWindowPageRows for k8v8
    int begin;  // first row of the reference
    int count;
    int32_t position;  // of row `begin`
    // What will be read after this page; attend_coded fetches it into the cache meanwhile, as pages lie apart and the processor
    // doesn't see it coming.
    const uint8_t* next = nullptr;
    size_t next_bytes = 0;
    const float* centre = nullptr;  // [key_dim]: of latent values, what was taken from them
};

// Columns of a matrix that lie together, in whole lines of the processor's cache.
inline constexpr int kPanelColumns = 64;
struct alignas(64) PanelRow {
    float at[kPanelColumns];
};

// Rows of which few elements are not 0. Row r has values[i] in column columns[i], for i from begins[r] to ends[r].
struct SparseRows {
    int count;
    const uint32_t *begins, *ends;
    const uint16_t* columns;
    const float* values;
};

struct Kernels {
    const char* name;

    // NaN becomes 0, values beyond binary16's range its largest.
    void (*store_half)(const float* source, uint16_t* target, int count);
    void (*load_half)(const uint16_t* source, float* target, int count);

    // Rotation of each block of each row, in place; its own inverse: of 2^k m elements a Hadamard matrix of 2^k on each of m parts, and then the
    // Hartley matrix of m across these. block: m is odd and at most kMostHartley, k 3 or more.
    void (*rotate)(float* rows, int count, int dim, int block);

    // Pack `count` rows [count][dim] of finite floats into a page's codes and scales from row `first` on. The page has room for `page_rows`:
    // kPageRows, or kWindowPageRows for the linear codings, or, for trellis codes, as many as can be refined. `centre` [dim], if there is one, is taken
    // from each key first. A scale is the projection scale <x,x>/<x,c> of its group, for code points at unit variance (Gao & Long 2024, RaBitQ,
    // arXiv 2405.12497, has the same estimator). The scale of a linear coding is that of the group's largest element.
    void (*pack_keys)(KeyCoding coding, const float* rows, int count, int dim, const float* centre, int first, int page_rows, uint8_t* codes,
                      uint16_t* scales);
    void (*pack_values)(ValueCoding coding, const float* rows, int count, int dim, int first, int page_rows, uint8_t* codes, uint16_t* scales);

    // Rounds queries to 7 bits a group: codes, scales (with the key step) and sums as in QueryBlock.
    void (*quantize_queries)(const float* query, int count, int dim, int8_t* codes, float* scales, int32_t* sums);

    // dots[i] = row i . vector. rows: [count][dim]
    void (*dot_rows)(const float* rows, int count, int dim, const float* vector, float* dots);

    // product += a b, for a: [rows][inner], a panel b: [inner], and product, whose rows begin `stride` floats apart. The sets give the same bits, but for the
    // scalar one.
    void (*add_product)(const float* a, int rows, int inner, const PanelRow* b, float* product, int stride);
    // The same for rows of few elements. Row r of b is at b[r].
    void (*add_sparse_product)(const SparseRows& a, const PanelRow* b, float* product, int stride);

    // Adds a page's rows at or before each query's position. `scratch` has attention_scratch_bytes(), aligned to 64.
    void (*attend_half)(const PageRows& rows, const QueryBlock& queries, void* scratch);
    void (*attend_coded)(const PageRows& rows, const QueryBlock& queries, void* scratch);
};

constexpr size_t attention_scratch_bytes(const HeadShape& shape) {
    constexpr int lanes = 16;  // keys lie in whole ones
    return size_t(kPageRows) * (shape.key_dim + shape.value_dim + lanes) * sizeof(float) + 256;
}

extern const Kernels kScalarKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

// Those this processor runs, best first; the last is the scalar one.
int available_kernels(const Kernels* (&found)[4]);
// The best, or the one that DELTASTORE_KERNEL names; nullptr if that one does not run here.
const Kernels* select_kernels();

}  // namespace deltastore
