#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace cuda_mock {

std::string_view trimmed(std::string_view text);
/** Cuts at this character where it stands outside of brackets of any kind. */
std::vector<std::string_view> split(std::string_view text, char at);
/** Takes the first word off. */
std::string_view take_word(std::string_view& text);
/** An integer of any base, or a floating-point number by its bits (0f3F800000). False if it is neither. */
bool parse_number(std::string_view text, uint64_t& value);
/** Place of the bracket that closes the one at `open`. */
size_t closing(std::string_view text, size_t open);

/** The next offset that is a multiple of this. */
inline uint32_t aligned(uint32_t offset, uint32_t align) { return align <= 1 ? offset : (offset + align - 1) / align * align; }

/** `.align 4 .b8 name[16]`, of a variable, a parameter or a register. */
struct Declaration {
    uint32_t align = 0, element_bytes = 0, count = 1;
    bool open_ended = false;  // name[]
    std::string_view name;
    uint32_t bytes() const { return element_bytes * count; }
};
Declaration parse_declaration(std::string_view text);

}  // namespace cuda_mock
