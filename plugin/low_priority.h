// Work that may take long, and that nobody waits for.
#pragma once

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <exception>
#include <thread>

namespace deltastore {

// Linux weighs it 36 against 1,024: beside a thread that always has work it gets some 3% of a core, so it comes to its end.
inline constexpr int kNiceness = 15;

// Runs `work` on a thread that the system prefers all others to, and waits for it. A thread of the pool could not be given its priority back.
template <typename Work>
void at_low_priority(Work work) {
    std::exception_ptr failure;
    std::thread([&] {
        setpriority(PRIO_PROCESS, id_t(syscall(SYS_gettid)), kNiceness);
        try {
            work();
        } catch (...) {
            failure = std::current_exception();
        }
    }).join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace deltastore
