// Errors on their way to JavaScript: a code of ts/errors.ts and a message that names what was given and what is allowed.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace deltastore {

class CodedError : public std::runtime_error {
public:
    CodedError(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
    const char* code() const { return code_.c_str(); }

private:
    std::string code_;
};

}  // namespace deltastore
