#include "properties.h"

#include <cstdlib>

namespace cuda_mock {

static int number(const char* variable, int otherwise) {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : std::atoi(text);
}

const Properties& properties() {
    static const Properties one{number("CUDA_MOCK_DEVICES", 1), number("CUDA_MOCK_CAPABILITY", 80), number("CUDA_MOCK_MULTIPROCESSORS", 4)};
    return one;
}

}  // namespace cuda_mock
