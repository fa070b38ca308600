// The kernels over one page of a table.
#pragma once

#include <algorithm>

#include "pages/host_place.h"
#include "pages/sequence_table.h"

namespace deltastore {

// Products of a block's queries with a centre, of which pages of the same centre make use one after the other.
struct CentreScores {
    float* scores;    // [query]
    int centre = -1;  // whose they are; -1 if none's
};

class PageAttention {
public:
    PageAttention(const Kernels& kernels, const SequenceTable& sequences, const HostPlace& place, const Centres& centres)
        : kernels_(kernels), sequences_(sequences), place_(place), centres_(centres) {}

    PageRows rows(int table, const PageRef& reference) const {
        return {place_.at(reference.page), &sequences_.layout(table, reference), sequences_.shape(table), reference.format,
                reference.rows, reference.begin, reference.count, reference.position};
    }

    // `queries.centre_scores` are those of `scores`.
    void attend(int table, const PageRows& rows, uint8_t centre, const QueryBlock& queries, CentreScores& scores, void* scratch) const {
        if (!format_info(rows.format).coded) return kernels_.attend_half(rows, queries, scratch);
        if (scores.centre != centre) {
            scores.centre = centre;
            if (centre == kNoCentre) std::fill(scores.scores, scores.scores + queries.count, 0.0f);
            else kernels_.dot_rows(queries.query, queries.count, rows.shape.key_dim, centres_.at(centre, table), scores.scores);
        }
        if (!rows.shape.latent || centre == kNoCentre) return kernels_.attend_coded(rows, queries, scratch);
        PageRows centred = rows;
        centred.centre = centres_.at(centre, table);
        kernels_.attend_coded(centred, queries, scratch);
    }

private:
    const Kernels& kernels_;
    const SequenceTable& sequences_;
    const HostPlace& place_;
    const Centres& centres_;
};

}  // namespace deltastore
