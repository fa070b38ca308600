// Packs the rows of a sequence that got another tier.
#pragma once

#include "packer.h"

namespace deltastore {

class Repacker {
public:
    Repacker(const Layers& layers, const Tiers& tiers, SequenceTable& sequences, Centres& centres, Watches& watches, const Sharing& sharing,
             Packer& packer, std::mutex& lock)
        : layers_(layers), tiers_(tiers), sequences_(sequences), centres_(centres), watches_(watches), sharing_(sharing), packer_(packer), lock_(lock) {}

    // As Cache::repack(). The pool is charged.
    Failure repack(int sequence, int window);

private:
    Failure repack_pages(int sequence, int32_t window_begin, float* scratch);
    Failure repack_reference(int sequence, int table, PageRef& reference, float* scratch);
    void split_window(int sequence, int32_t begin);
    void gather_window(int sequence, int32_t begin);
    bool shared(int sequence, int table, const PageRef& reference) const;

    const Layers& layers_;
    const Tiers& tiers_;
    SequenceTable& sequences_;
    Centres& centres_;
    Watches& watches_;
    const Sharing& sharing_;
    Packer& packer_;
    std::mutex& lock_;
};

}  // namespace deltastore
