#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "check.h"
#include "kernels.h"

// The mock by its own interfaces, as a program that is linked with CUDA's libraries sees them.

using namespace cuda_mock_test;

extern "C" {
int cuLibraryLoadData(void** library, const void* image, int*, void**, unsigned, int*, void**, unsigned);
int cuLibraryGetKernel(void** kernel, void* library, const char* name);
int cuLaunchKernel(void* kernel, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned shared, void* stream, void** values,
                   void** extra);
int cudaMalloc(void** pointer, size_t bytes);
int cudaFree(void* pointer);
int cudaMallocHost(void** pointer, size_t bytes);
int cudaMemcpy(void* to, const void* from, size_t bytes, int kind);
int cudaMemcpyAsync(void* to, const void* from, size_t bytes, int kind, void* stream);
int cudaStreamCreateWithFlags(void** stream, unsigned flags);
int cudaStreamSynchronize(void* stream);
int cudaStreamWaitEvent(void* stream, void* event, unsigned);
int cudaEventCreateWithFlags(void** event, unsigned);
int cudaEventRecord(void* event, void* stream);
int cudaDeviceSynchronize();
int cudaStreamBeginCapture(void* stream, int mode);
int cudaStreamEndCapture(void* stream, void** graph);
int cudaGraphInstantiate(void** executable, void* graph, unsigned long long flags);
int cudaGraphLaunch(void* executable, void* stream);
}

namespace {

constexpr int kAnyDirection = 4;

void* kernel_of(const char* ptx, const char* name) {
    void *library = nullptr, *kernel = nullptr;
    CHECK(cuLibraryLoadData(&library, ptx, nullptr, nullptr, 0, nullptr, nullptr, 0) == 0);
    CHECK(cuLibraryGetKernel(&kernel, library, name) == 0);
    return kernel;
}

template <class T> T* on_device(size_t count, const T* values = nullptr) {
    void* pointer = nullptr;
    CHECK(cudaMalloc(&pointer, count * sizeof(T)) == 0);
    if (values != nullptr) CHECK(cudaMemcpy(pointer, values, count * sizeof(T), kAnyDirection) == 0);
    return static_cast<T*>(pointer);
}

template <class T> std::vector<T> read(const T* device, size_t count) {
    CHECK(cudaDeviceSynchronize() == 0);
    std::vector<T> values(count);
    CHECK(cudaMemcpy(values.data(), device, count * sizeof(T), kAnyDirection) == 0);
    return values;
}

template <class... Values> int launch(void* kernel, unsigned threads, void* stream, Values... values) {
    void* pointers[] = {&values...};
    return cuLaunchKernel(kernel, 1, 1, 1, threads, 1, 1, 0, stream, pointers, nullptr);
}

void lanes_that_went_apart_meet() {
    uint32_t* out = on_device<uint32_t>(32);
    CHECK(launch(kernel_of(kDivergence, "count_down"), 32, nullptr, out) == 0);
    for (uint32_t sum : read(out, 32))
        CHECK(sum == 31 * 32 / 2);
}

bool mirrors(uint32_t waits) {
    uint32_t* out = on_device<uint32_t>(64);
    CHECK(launch(kernel_of(kBarrier, "mirrored"), 64, nullptr, out, waits) == 0);
    const std::vector<uint32_t> values = read(out, 64);
    bool all = true;
    for (uint32_t i = 0; i < 64; i++)
        all = all && values[i] == 63 - i;
    return all;
}

void a_missing_barrier_shows() {
    for (const char* order : {"forward", "reverse"}) {
        setenv("CUDA_MOCK_ORDER", order, 1);
        CHECK(mirrors(1));
        CHECK(!mirrors(0));
    }
    unsetenv("CUDA_MOCK_ORDER");
}

void matrices_are_multiplied() {
    _Float16 a[16][16], b[8][16];
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            a[i][k] = _Float16(float((i * 7 + k * 3) % 11 - 5) / 4);
    for (int j = 0; j < 8; j++)
        for (int k = 0; k < 16; k++)
            b[j][k] = _Float16(float((j * 5 + k) % 13 - 6) / 8);
    float* d = on_device<float>(16 * 8);
    CHECK(launch(kernel_of(kProduct, "product"), 32, nullptr, on_device(256, &a[0][0]), on_device(128, &b[0][0]), d) == 0);
    const std::vector<float> values = read(d, 16 * 8);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 8; j++) {
            float sum = 0;
            for (int k = 0; k < 16; k++)
                sum += float(a[i][k]) * float(b[j][k]);
            CHECK(values[size_t(i * 8 + j)] == sum);
        }
}

void subnormal_numbers_are_0_where_code_says_so() {
    const float smallest = 1.17549435e-38f;  // that isn't subnormal
    for (const char* modifier : {"", ".ftz"}) {
        std::string ptx = kScale;
        ptx.replace(ptx.find("FTZ"), 3, modifier);
        float* number = on_device(1, &smallest);
        CHECK(launch(kernel_of(ptx.c_str(), "scale"), 1, nullptr, number) == 0);
        CHECK(read(number, 1)[0] == (*modifier == 0 ? smallest / 2 : 0));
    }
}

void fresh_memory_is_no_number() {
    for (float value : read(on_device<float>(100), 100))
        CHECK(std::isnan(value));
}

void work_waits_until_somebody_waits_for_it() {
    void *stream = nullptr, *other = nullptr, *event = nullptr, *pinned = nullptr;
    cudaStreamCreateWithFlags(&stream, 1);
    cudaStreamCreateWithFlags(&other, 1);
    cudaEventCreateWithFlags(&event, 2);
    cudaMallocHost(&pinned, 4);
    auto& host = *static_cast<volatile uint32_t*>(pinned);
    const uint32_t zero = 0;
    uint32_t* number = on_device(1, &zero);
    host = 7;
    cudaMemcpyAsync(number, pinned, 4, kAnyDirection, stream);
    host = 8;  // too early: the copy hasn't read it yet
    launch(kernel_of(kAdd, "add_to"), 1, stream, number, uint32_t(100));
    cudaEventRecord(event, stream);
    cudaStreamWaitEvent(other, event, 0);
    cudaMemcpyAsync(pinned, number, 4, kAnyDirection, other);
    CHECK(host == 8);
    CHECK(cudaStreamSynchronize(other) == 0);
    CHECK(host == 108);
}

void a_graph_runs_when_it_is_launched() {
    void *stream = nullptr, *graph = nullptr, *executable = nullptr;
    cudaStreamCreateWithFlags(&stream, 1);
    const uint32_t zero = 0;
    uint32_t* number = on_device(1, &zero);
    void* add = kernel_of(kAdd, "add_to");
    CHECK(cudaStreamBeginCapture(stream, 2) == 0);
    launch(add, 1, stream, number, uint32_t(1));
    launch(add, 3, stream, number, uint32_t(10));
    CHECK(cudaStreamSynchronize(stream) != 0);  // not while it is captured
    CHECK(cudaStreamEndCapture(stream, &graph) == 0);
    CHECK(cudaGraphInstantiate(&executable, graph, 0) == 0);
    CHECK(read(number, 1)[0] == 0);
    for (int i = 0; i < 2; i++)
        CHECK(cudaGraphLaunch(executable, stream) == 0);
    CHECK(read(number, 1)[0] == 62);
}

/** How a child process ends that does this: its exit code, or its signal less than 0. */
template <class F> int end_of(F&& act) {
    const pid_t child = fork();
    if (child == 0) {
        std::fclose(stderr);
        _exit(act());
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void host_code_can_not_read_device_memory() {
    const uint32_t zero = 0;
    const volatile uint32_t* number = on_device(1, &zero);
    CHECK(end_of([=] { return int(*number); }) == -SIGSEGV);
}

void kernels_can_not_touch_what_is_not_theirs() {
    void* add = kernel_of(kAdd, "add_to");
    const auto outcome = [&](uint32_t* where) {
        return end_of([=] {
            launch(add, 1, nullptr, where, uint32_t(1));
            return cudaDeviceSynchronize() != 0 && cudaDeviceSynchronize() != 0 ? 1 : 0;  // it stays so
        });
    };
    uint32_t *whole = on_device<uint32_t>(64), *freed = on_device<uint32_t>(64), on_host = 0;
    cudaFree(freed);
    CHECK(outcome(whole + 63) == 0);
    CHECK(outcome(whole + 64) == 1);
    CHECK(outcome(freed) == 1);
    CHECK(outcome(&on_host) == 1);
}

}  // namespace

int main(int argc, char** argv) {
    check::begin(argc, argv);
    check::run("lanes that went apart meet", lanes_that_went_apart_meet);
    check::run("a missing barrier shows", a_missing_barrier_shows);
    check::run("matrices are multiplied", matrices_are_multiplied);
    check::run("subnormal numbers are 0 where code says so", subnormal_numbers_are_0_where_code_says_so);
    check::run("fresh memory is no number", fresh_memory_is_no_number);
    check::run("work waits until somebody waits for it", work_waits_until_somebody_waits_for_it);
    check::run("a graph runs when it is launched", a_graph_runs_when_it_is_launched);
    check::run("host code can't read device memory", host_code_can_not_read_device_memory);
    check::run("kernels can't touch what is not theirs", kernels_can_not_touch_what_is_not_theirs);
    return check::finish();
}
