// Pages in the processor's memory.
#pragma once

#include <array>
#include <memory>

#include "kernels/kernels.h"
#include "place.h"

namespace deltastore {

class HostPlace final : public Place {
public:
    explicit HostPlace(const Kernels& kernels) : kernels_(kernels) {}
    ~HostPlace() override;
    HostPlace(const HostPlace&) = delete;
    HostPlace& operator=(const HostPlace&) = delete;

    using Place::read;
    bool give(uint32_t slab) override;
    void take_back(uint32_t slab) override;
    void forget(Page page, size_t bytes) override;
    void read(Page page, size_t offset, size_t bytes, const WriteBytes& to) const override;
    void write(Page page, size_t offset, size_t bytes, const ReadBytes& from) override;
    void copy(Page source, Page target, size_t bytes) override;
    void clear(Page page, size_t bytes) override;
    void run(const Work& work, float* scratch) override;

    // From any thread, for a page that its caller holds, while other slabs come and go. Aligned to kUnit.
    uint8_t* at(Page page) const {
        const uint32_t slab = slab_of(page);
        return (*chunks_[slab / kChunk])[slab % kChunk] + offset_of(page);
    }

private:
    static constexpr uint32_t kChunk = 1024;
    using Chunk = std::array<uint8_t*, kChunk>;

    const Kernels& kernels_;
    // [slab]. In chunks, so that no address moves while another thread reads it.
    std::array<std::unique_ptr<Chunk>, kMostSlabs / kChunk + 1> chunks_;
};

}  // namespace deltastore
