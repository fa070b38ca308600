#pragma once

#include "warp.h"

namespace cuda_mock {

/**
 * Runs a kernel to its end on this thread: block by block, and the warps of a block in turn from barrier to barrier. With CUDA_MOCK_ORDER=reverse
 * the last block and warp come first, so a barrier that is missing shows in one of the two orders. Throws KernelFault.
 */
void run(const Launch& launch);

}  // namespace cuda_mock
