#include "text.h"

#include <charconv>
#include <string>

#include "opcode.h"
#include "program.h"

namespace cuda_mock {

static constexpr std::string_view kSpaces = " \t\r\n";

std::string_view trimmed(std::string_view text) {
    const size_t begin = text.find_first_not_of(kSpaces);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

std::vector<std::string_view> split(std::string_view text, char at) {
    std::vector<std::string_view> parts;
    int depth = 0;
    size_t begin = 0;
    for (size_t i = 0; i <= text.size(); i++) {
        if (i == text.size() || (depth == 0 && text[i] == at)) {
            parts.push_back(trimmed(text.substr(begin, i - begin)));
            begin = i + 1;
        } else if (text[i] == '(' || text[i] == '[' || text[i] == '{')
            depth++;
        else if (text[i] == ')' || text[i] == ']' || text[i] == '}')
            depth--;
    }
    if (parts.back().empty()) parts.pop_back();
    return parts;
}

std::string_view take_word(std::string_view& text) {
    text = trimmed(text);
    const size_t end = std::min(text.find_first_of(kSpaces), text.size());
    const std::string_view word = text.substr(0, end);
    text = trimmed(text.substr(end));
    return word;
}

bool parse_number(std::string_view text, uint64_t& value) {
    const bool negative = !text.empty() && text[0] == '-';
    if (negative) text.remove_prefix(1);
    if (text.empty() || text[0] < '0' || text[0] > '9') return false;
    int base = 10;
    if (text.size() > 2 && text[0] == '0') {
        const char kind = text[1];
        if (kind == 'x' || kind == 'X' || kind == 'f' || kind == 'F' || kind == 'd' || kind == 'D') base = 16;
        if (kind == 'b' || kind == 'B') base = 2;
        if (base != 10)
            text.remove_prefix(2);
        else
            base = 8;
    }
    if (text.back() == 'U') text.remove_suffix(1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size()) return false;
    if (negative) value = uint64_t(0) - value;
    return true;
}

size_t closing(std::string_view text, size_t open) {
    const char opens = text[open], closes = opens == '(' ? ')' : opens == '[' ? ']' : '}';
    int depth = 0;
    for (size_t i = open; i < text.size(); i++) {
        if (text[i] == opens) depth++;
        if (text[i] == closes && --depth == 0) return i;
    }
    throw KernelFault("PTX has an open bracket");
}

Declaration parse_declaration(std::string_view text) {
    Declaration result;
    for (;;) {
        const std::string_view word = take_word(text);
        if (word.empty() || word[0] != '.') {
            const size_t bracket = word.find('[');
            result.name = word.substr(0, bracket);
            if (bracket != std::string_view::npos) {
                uint64_t count = 0;
                if (parse_number(word.substr(bracket + 1, word.find(']') - bracket - 1), count))
                    result.count = uint32_t(count);
                else
                    result.open_ended = true;
            }
            break;
        }
        if (word == ".align") {
            uint64_t align = 0;
            parse_number(take_word(text), align);
            result.align = uint32_t(align);
            continue;
        }
        const Type type = type_named(word.substr(1));
        if (type != Type::None) result.element_bytes = uint32_t(size_of(type));
    }
    if (result.align == 0) result.align = result.element_bytes;
    return result;
}

}  // namespace cuda_mock
