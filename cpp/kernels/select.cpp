#include <atomic>
#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace deltastore {

int available_kernels(const Kernels* (&found)[4]) {
    int count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        found[count++] = &kAvx512Kernels;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
        found[count++] = &kAvx2Kernels;
#endif
    found[count++] = &kScalarKernels;
    return count;
}

static const Kernels* choose() {
    const Kernels* found[4];
    const int count = available_kernels(found);
    const char* wanted = std::getenv("DELTASTORE_KERNEL");
    if (wanted == nullptr || *wanted == 0) return found[0];
    for (int i = 0; i < count; i++) {
        if (std::strcmp(found[i]->name, wanted) == 0) return found[i];
    }
    return nullptr;
}

const Kernels* select_kernels() {
    static std::atomic<const Kernels*> chosen{nullptr};  // a wrong name may be corrected, what was chosen stays
    if (chosen.load() == nullptr) chosen.store(choose());
    return chosen.load();
}

}  // namespace deltastore
