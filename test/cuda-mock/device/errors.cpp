#include "errors.h"

#include <cstdio>
#include <exception>

#include "stream.h"

namespace cuda_mock {

static int g_last = Success, g_lasting = Success;

const char* error_text(int error) {
    switch (error) {
        case Success: return "no error";
        case InvalidValue: return "invalid argument";
        case OutOfMemory: return "out of memory";
        case NoDevice: return "no CUDA-capable device is detected";
        case LaunchFailure: return "the mock device failed; see stderr";
        case CaptureUnsupported: return "operation not permitted when stream is capturing";
        default: return "an error of the mock";
    }
}

int guarded(const std::function<int()>& act) {
    std::lock_guard lock(device_mutex());
    int error = g_lasting;
    try {
        if (error == Success) error = act();
    } catch (const std::exception& exception) {
        std::fprintf(stderr, "cuda-mock: %s\n", exception.what());
        error = g_lasting = LaunchFailure;
    }
    if (error != Success) g_last = error;
    return error;
}

int last_error(bool clears) {
    std::lock_guard lock(device_mutex());
    const int last = g_last;
    if (clears) g_last = g_lasting;
    return last;
}

}  // namespace cuda_mock
