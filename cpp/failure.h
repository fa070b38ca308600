// Errors on their way to JavaScript: a code of ts/errors.ts and a message that names what was given and what is allowed.
#pragma once

#include <stdexcept>
#include <string>

namespace deltastore {

class CodedError : public std::runtime_error {
public:
    CodedError(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
    const char* code() const { return code_; }

private:
    const char* code_;
};

}  // namespace deltastore
