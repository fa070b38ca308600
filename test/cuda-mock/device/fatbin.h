#pragma once

#include <string>

namespace cuda_mock {

bool is_fat_binary(const void* image);

/**
 * The PTX in a fat binary for a device of this compute capability (80 is 8.0): the newest that isn't newer. Throws std::runtime_error if
 * there is none, as a driver does that gets no code for its device. Machine code is not taken.
 */
std::string ptx_for(const void* fat_binary, int capability);

}  // namespace cuda_mock
