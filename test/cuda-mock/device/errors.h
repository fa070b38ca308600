#pragma once

#include <functional>

namespace cuda_mock {

/** Numbers that CUDA's runtime and driver have in common. */
enum Error {
    Success = 0,
    InvalidValue = 1,
    OutOfMemory = 2,
    NoDevice = 100,
    NotFound = 500,
    LaunchFailure = 719,
    Unsupported = 801,
    CaptureUnsupported = 900
};

const char* error_text(int error);

/** Does it under the device's mutex. An exception becomes LaunchFailure, which then stays; its text goes to stderr. */
int guarded(const std::function<int()>& act);
/** The last one that isn't Success. */
int last_error(bool clears);

}  // namespace cuda_mock
