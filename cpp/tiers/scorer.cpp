#include "scorer.h"

#include <cstring>
#include <initializer_list>

namespace deltastore {

const Scorer* scorer_by_name(const char* name) {
    for (const Scorer* scorer : {&kAttentionScorer, &kH2oScorer, &kSnapkvScorer, &kRecencyScorer})
        if (std::strcmp(scorer->name, name) == 0) return scorer;
    return nullptr;
}

}  // namespace deltastore
