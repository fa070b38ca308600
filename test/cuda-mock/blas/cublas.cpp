#include <stdexcept>

#include "../device/errors.h"
#include "../device/gemm.h"
#include "../device/memory.h"
#include "../device/report.h"
#include "../device/stream.h"
#include "../ptx/numbers.h"

// Products of matrices as cuBLAS has them. Its other functions fail.

using namespace cuda_mock;

namespace {

struct Handle {
    void* stream = nullptr;
};

struct Shape {
    bool a_transposed, b_transposed;
    int m, n, k;
};
struct Part {
    const void* data;
    int type, leading;
};

constexpr int kNotSupported = 15, kCompute16F = 64;  // CUBLAS_STATUS_NOT_SUPPORTED, CUBLAS_COMPUTE_16F

// alpha and beta have the type that is computed in.
float scalar(const void* value, int compute_type) {
    return compute_type == kCompute16F ? float(*static_cast<const Half*>(value)) : *static_cast<const float*>(value);
}

const void* moved(const void* data, int type, long long elements) {
    return reinterpret_cast<const void*>(reinterpret_cast<uint64_t>(data) + uint64_t(elements) * (type == int(Number::F32) ? 4 : 2));
}

void multiply_parts(const Shape& s, float alpha, const Part& a, const Part& b, float beta, const Part& c) {
    multiply(s.m, s.n, s.k, alpha, {a.data, Number(a.type), a.leading, s.a_transposed}, {b.data, Number(b.type), b.leading, s.b_transposed}, beta,
             {c.data, Number(c.type), c.leading});
}

// Matrices that lie `stride` elements apart.
int multiply_strided(void* handle, Shape shape, float alpha, Part a, long long a_stride, Part b, long long b_stride, float beta, Part c,
                     long long c_stride, int times) {
    return guarded([=] {
        count(Count::Gemm);
        stream_of(static_cast<Handle*>(handle)->stream)->enqueue([=] {
            for (int i = 0; i < times; i++)
                multiply_parts(shape, alpha, {moved(a.data, a.type, i * a_stride), a.type, a.leading},
                               {moved(b.data, b.type, i * b_stride), b.type, b.leading}, beta,
                               {moved(c.data, c.type, i * c_stride), c.type, c.leading});
        });
        return Success;
    });
}

const void* pointer_at(const void* list, int index) {
    const void* found = device_bytes(reinterpret_cast<uint64_t>(list) + uint64_t(index) * sizeof(void*), sizeof(void*));
    if (found == nullptr) throw std::runtime_error("a list of matrices isn't on the device");
    return *static_cast<const void* const*>(found);
}

// Lists of pointers, on the device.
int multiply_listed(void* handle, Shape shape, float alpha, Part a, Part b, float beta, Part c, int times) {
    return guarded([=] {
        count(Count::Gemm);
        stream_of(static_cast<Handle*>(handle)->stream)->enqueue([=] {
            for (int i = 0; i < times; i++)
                multiply_parts(shape, alpha, {pointer_at(a.data, i), a.type, a.leading}, {pointer_at(b.data, i), b.type, b.leading}, beta,
                               {pointer_at(c.data, i), c.type, c.leading});
        });
        return Success;
    });
}

constexpr int kF32 = int(Number::F32);

}  // namespace

extern "C" {

int cublasCreate_v2(void** handle) {
    *handle = new Handle;
    return Success;
}
int cublasDestroy_v2(void* handle) {
    delete static_cast<Handle*>(handle);
    return Success;
}
int cublasSetStream_v2(void* handle, void* stream) {
    static_cast<Handle*>(handle)->stream = stream;
    return Success;
}
int cublasSetMathMode(void*, int) { return Success; }
int cublasSetWorkspace_v2(void*, void*, size_t) { return Success; }
const char* cublasGetStatusString(int) { return "an error of the mock's cuBLAS"; }

int cublasSgemm_v2(void* handle, int ta, int tb, int m, int n, int k, const float* alpha, const float* a, int lda, const float* b, int ldb,
                   const float* beta, float* c, int ldc) {
    return multiply_strided(handle, {ta != 0, tb != 0, m, n, k}, *alpha, {a, kF32, lda}, 0, {b, kF32, ldb}, 0, *beta, {c, kF32, ldc}, 0, 1);
}
int cublasSgemmStridedBatched(void* handle, int ta, int tb, int m, int n, int k, const float* alpha, const float* a, int lda, long long sa,
                              const float* b, int ldb, long long sb, const float* beta, float* c, int ldc, long long sc, int times) {
    return multiply_strided(handle, {ta != 0, tb != 0, m, n, k}, *alpha, {a, kF32, lda}, sa, {b, kF32, ldb}, sb, *beta, {c, kF32, ldc}, sc, times);
}
int cublasSgemmBatched(void* handle, int ta, int tb, int m, int n, int k, const float* alpha, const float* const* a, int lda, const float* const* b,
                       int ldb, const float* beta, float* const* c, int ldc, int times) {
    return multiply_listed(handle, {ta != 0, tb != 0, m, n, k}, *alpha, {a, kF32, lda}, {b, kF32, ldb}, *beta, {c, kF32, ldc}, times);
}
int cublasGemmEx(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int a_type, int lda, const void* b, int b_type,
                 int ldb, const void* beta, void* c, int c_type, int ldc, int compute, int) {
    return multiply_strided(handle, {ta != 0, tb != 0, m, n, k}, scalar(alpha, compute), {a, a_type, lda}, 0, {b, b_type, ldb}, 0,
                            scalar(beta, compute), {c, c_type, ldc}, 0, 1);
}
int cublasGemmStridedBatchedEx(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int a_type, int lda, long long sa,
                               const void* b, int b_type, int ldb, long long sb, const void* beta, void* c, int c_type, int ldc, long long sc,
                               int times, int compute, int) {
    return multiply_strided(handle, {ta != 0, tb != 0, m, n, k}, scalar(alpha, compute), {a, a_type, lda}, sa, {b, b_type, ldb}, sb,
                            scalar(beta, compute), {c, c_type, ldc}, sc, times);
}
int cublasGemmBatchedEx(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* const* a, int a_type, int lda,
                        const void* const* b, int b_type, int ldb, const void* beta, void* const* c, int c_type, int ldc, int times, int compute,
                        int) {
    return multiply_listed(handle, {ta != 0, tb != 0, m, n, k}, scalar(alpha, compute), {a, a_type, lda}, {b, b_type, ldb}, scalar(beta, compute),
                           {c, c_type, ldc}, times);
}
int cublasStrsmBatched(...) { return kNotSupported; }

}  // extern "C"
