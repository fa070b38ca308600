#include "thread_pool.h"

#include "ggml-backend.h"
#include "ggml-cpu.h"

namespace deltastore {

void ThreadPool::fit(llama_context& context, int threads) {
    if (threads <= threads_) return;
    ggml_backend_reg_t cpu = ggml_backend_dev_backend_reg(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
    const auto create = reinterpret_cast<decltype(&ggml_threadpool_new)>(ggml_backend_reg_get_proc_address(cpu, "ggml_threadpool_new"));
    const auto free = reinterpret_cast<decltype(&ggml_threadpool_free)>(ggml_backend_reg_get_proc_address(cpu, "ggml_threadpool_free"));
    if (create == nullptr || free == nullptr) return;
    ggml_threadpool_params params = ggml_threadpool_params_default(threads);
    params.poll = 0;  // sleep between batches: the app has work of its own to do then
    ggml_threadpool* pool = create(&params);
    if (pool == nullptr) return;
    pools_.emplace_back(pool, free);
    context.attach_threadpool(pool, nullptr);
    threads_ = threads;
}

}  // namespace deltastore
