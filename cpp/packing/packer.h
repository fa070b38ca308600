// Packs rows that left the window.
#pragma once

#include <mutex>

#include "attention/plan.h"
#include "watching/watches.h"
#include "pages/centres.h"
#include "pages/sequence_table.h"
#include "pages/sharing.h"
#include "tiers/tiers.h"

namespace deltastore {

// Different tables may be packed at once. `scratch`: floats for a page's keys and values.
class Packer {
public:
    Packer(const Layers& layers, const Tiers& tiers, SequenceTable& sequences, Centres& centres, Watches& watches, const Sharing& sharing,
           std::mutex& lock)
        : layers_(layers), tiers_(tiers), sequences_(sequences), centres_(centres), watches_(watches), sharing_(sharing), lock_(lock) {}

    // A thread is done with its part of a layer's attention.
    void layer_done(int layer, Plan& plan) const;
    // A thread's part of packing a layer that all threads are done with.
    void pack_layer(int layer, Plan& plan, float* scratch);
    // Packs what is left once the ubatch is computed.
    void finish(const Plan& plan, float* scratch);

    // Oldest first, so that a later call finds those that got no page.
    void pack_table(const Written& written, int table, float* scratch);
    // Makes the mean of a sequence's keys before `end` the cache's own centre, once there are enough that aren't packed.
    void find_centre(int sequence, int32_t end);
    // The first position of rows that are not packed, behind those that are.
    int32_t first_open(int sequence) const;

private:
    bool waits(const Written& written, int table, const PageTable& references, size_t index) const;
    bool pack_reference(const Written& written, int table, PageTable& references, size_t index, float* scratch);
    int room_before(const PageTable& references, size_t index, Format format) const;
    void received(const Written& written, int table, const PageRef& reference, float* weights) const;

    const Layers& layers_;
    const Tiers& tiers_;
    SequenceTable& sequences_;
    Centres& centres_;
    Watches& watches_;
    const Sharing& sharing_;
    std::mutex& lock_;
};

}  // namespace deltastore
