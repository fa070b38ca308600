// What llama.cpp makes of a model, found out from the headers of its files alone.
#pragma once

#include <string>

#include "accounting/forecast.h"

namespace deltastore {

struct ModelOutline {
    std::string architecture;  // "gemma3"
    std::string memory;        // class of the memory that llama.cpp gives it; empty for none
    int layers = 0;
    int recurrent_layers = 0;
    int trained_tokens = 0;  // of a context
    bool latent = false;     // latent vectors in place of keys and values (MLA)
    bool alibi = false;
    bool shifts = false;     // positions can be shifted
    ModelShape shape;        // as far as the memory is of a kind that is known
    std::string refused_code, refused_reason;  // why a packed cache of the tier can't serve it; empty if it can
};

// Loads the model without its weights, tries a packed cache on it, and frees both. `path` is of the model's only file, or of its first. Throws CodedError
// MODEL_UNSUPPORTED with llama.cpp's reason if it can't load the model.
ModelOutline outline_model(const std::string& path, const Tier& tier);

}  // namespace deltastore
