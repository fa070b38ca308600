#pragma once

#include <string>

namespace cuda_mock {

// What was done is counted. With CUDA_MOCK_REPORT, the process writes it to that file as JSON when it ends.

enum class Count { HostToDevice, DeviceToHost, OnDevice, StreamWait, EventWait, Capture, GraphLaunch, Gemm, COUNT };

void count(Count what);
/** A kernel that runs, also as a part of a graph. */
void count_kernel(const std::string& name);

}  // namespace cuda_mock
