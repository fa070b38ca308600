#pragma once

#include "warp.h"

namespace cuda_mock {

/** Runs a kernel to its end, block by block, on this thread. Throws KernelFault, with the kernel's and the instruction's text. */
void run(const Launch& launch);

}  // namespace cuda_mock
