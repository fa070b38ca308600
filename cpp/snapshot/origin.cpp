#include "origin.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace deltastore {

namespace {

struct Setting {
    const char* name;
    float Positions::*value;
};

// In the order in which they are hashed and written.
constexpr Setting kSettings[] = {{"rope base", &Positions::rope_freq_base},
                                 {"frequency scale", &Positions::rope_freq_scale},
                                 {"YaRN's extrapolation factor", &Positions::yarn_ext_factor},
                                 {"YaRN's attention factor", &Positions::yarn_attn_factor},
                                 {"YaRN's fast beta", &Positions::yarn_beta_fast},
                                 {"YaRN's slow beta", &Positions::yarn_beta_slow}};

// With as many digits as tell it from every other one.
std::string text_of(float value) {
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        std::snprintf(text, sizeof text, "%.*g", digits, double(value));
        if (std::strtof(text, nullptr) == value) break;
    }
    return text;
}

void add_positions(const Positions& positions, Checksum& checksum) {
    for (const Setting& setting : kSettings) checksum.add(&(positions.*setting.value), sizeof(float));
    checksum.add(&positions.n_ctx_orig_yarn, sizeof positions.n_ctx_orig_yarn);
}

std::string difference(const Positions& stored, const Positions& own) {
    std::string all;
    const auto add = [&](const char* name, const std::string& theirs, const std::string& ours) {
        all += std::string(all.empty() ? "" : ", ") + name + " " + theirs + ", here " + ours;
    };
    for (const auto& [name, value] : kSettings)
        if (std::memcmp(&(stored.*value), &(own.*value), sizeof(float)) != 0) add(name, text_of(stored.*value), text_of(own.*value));
    if (stored.n_ctx_orig_yarn != own.n_ctx_orig_yarn)
        add("YaRN's original context", std::to_string(stored.n_ctx_orig_yarn), std::to_string(own.n_ctx_orig_yarn));
    if (stored.long_factors != own.long_factors)
        add("rope factors for", stored.long_factors ? "long contexts" : "short contexts", own.long_factors ? "for long ones" : "for short ones");
    return all;
}

}  // namespace

uint64_t Positions::fingerprint(uint64_t model) const {
    Checksum checksum;
    checksum.add(&model, sizeof model);
    add_positions(*this, checksum);
    return checksum.value();
}

uint64_t Origin::value() const {
    Checksum checksum;
    checksum.add(&model, sizeof model);
    add_positions(positions, checksum);
    checksum.add(&positions.long_factors, sizeof positions.long_factors);
    checksum.add(&adapters, sizeof adapters);
    return checksum.value();
}

void Origin::write(Writer& writer) const {
    writer.number(model);
    for (const Setting& setting : kSettings) writer.number(positions.*setting.value);
    writer.number(positions.n_ctx_orig_yarn);
    writer.number(positions.long_factors);
    writer.number(adapters);
    writer.number(value());
}

Origin Origin::read(Reader& reader) {
    Origin origin;
    origin.model = reader.number<uint64_t>();
    for (const Setting& setting : kSettings) origin.positions.*setting.value = reader.number<float>();
    origin.positions.n_ctx_orig_yarn = reader.number<uint32_t>();
    origin.positions.long_factors = reader.number<uint32_t>();
    origin.adapters = reader.number<uint64_t>();
    if (reader.number<uint64_t>() != origin.value()) throw CodedError("STATE_DAMAGED", "What the state says of the model that it was made with is changed");
    return origin;
}

void Origin::require(const Origin& stored) const {
    std::string all;
    const auto add = [&](const std::string& what) { all += (all.empty() ? "" : "; ") + what; };
    if (stored.model != model) add("other weights, or other metadata of the model");
    const std::string turned = difference(stored.positions, positions);
    if (!turned.empty()) add("other positions (" + turned + ")");
    if (stored.adapters != adapters) add("other adapters (LoRA), or other scales of them");
    if (!all.empty()) throw CodedError("STATE_MODEL_MISMATCH", "The state was made with " + all);
}

void require_fingerprint(uint64_t fingerprint, Reader& reader) {
    if (reader.number<uint64_t>() != fingerprint) throw CodedError("STATE_MODEL_MISMATCH", "The state was made with another model, or other positions");
}

}  // namespace deltastore
