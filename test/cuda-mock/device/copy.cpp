#include "copy.h"

#include <cstdint>
#include <cstring>
#include <string>

#include "../ptx/program.h"
#include "memory.h"
#include "report.h"

namespace cuda_mock {

static uint8_t* bytes_of(const void* pointer, size_t bytes) {
    const uint64_t address = reinterpret_cast<uint64_t>(pointer);
    if (!is_device(address)) return reinterpret_cast<uint8_t*>(address);
    void* found = device_bytes(address, bytes);
    if (found == nullptr) throw KernelFault("a copy of " + std::to_string(bytes) + " bytes goes over memory that isn't allocated");
    return static_cast<uint8_t*>(found);
}

static void copy_now(const Copy& copy) {
    for (size_t row = 0; row < copy.rows; row++)
        std::memmove(bytes_of(static_cast<uint8_t*>(copy.to) + row * copy.to_pitch, copy.width),
                     bytes_of(static_cast<const uint8_t*>(copy.from) + row * copy.from_pitch, copy.width), copy.width);
}

void enqueue_copy(Stream& stream, const Copy& copy) {
    const bool to_device = is_device(reinterpret_cast<uint64_t>(copy.to)), from_device = is_device(reinterpret_cast<uint64_t>(copy.from));
    count(to_device ? from_device ? Count::OnDevice : Count::HostToDevice : Count::DeviceToHost);
    stream.enqueue([copy] { copy_now(copy); });
    if (!stream.capturing() && ((!to_device && !is_pinned(copy.to)) || (!from_device && !is_pinned(copy.from)))) stream.run_all();
}

void enqueue_fill(Stream& stream, void* to, int value, size_t bytes) {
    stream.enqueue([=] { std::memset(bytes_of(to, bytes), value, bytes); });
}

}  // namespace cuda_mock
