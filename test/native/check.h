// A tiny test harness: named cases, one line of output each.
//
//   ok NAME
//   not ok NAME - FILE:LINE: CONDITION: VALUES (and N more)
//   N passed, N failed
//
// Lines that start with '#' are remarks. The first argument is the seed; it is printed, so that a failure can be repeated.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <sstream>
#include <string>

namespace check {

struct State {
    uint64_t seed = 20240601;
    int passed = 0;
    int failed = 0;
    long checks = 0;
    long failures = 0;  // of the current case
    std::string first;
};

inline State& state() {
    static State instance;
    return instance;
}

inline void fail(const char* file, int line, const std::string& what) {
    State& now = state();
    const char* name = file;
    for (const char* at = file; *at; at++)
        if (*at == '/') name = at + 1;
    const std::string message = std::string(name) + ":" + std::to_string(line) + ": " + what;
    if (now.failures++ == 0) now.first = message;
    if (now.failures <= 5) std::printf("# %s\n", message.c_str());
}

template <typename A, typename B>
void compare(bool holds, const char* file, int line, const char* left, const char* relation, const char* right, const A& a, const B& b) {
    state().checks++;
    if (holds) return;
    std::ostringstream text;
    text.precision(9);
    text << left << " " << relation << " " << right << ": " << +a << " against " << +b;
    fail(file, line, text.str());
}

// As many random rounds, or a fifth where sanitizers make each several times slower.
inline int rounds(int plain) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return (plain + 4) / 5;
#else
    return plain;
#endif
}

// True if nothing failed in the current case so far: long random cases stop at the first failure.
inline bool clean() { return state().failures == 0; }

inline void run(const std::string& name, const std::function<void()>& body) {
    State& now = state();
    now.failures = 0;
    try {
        body();
    } catch (const std::exception& error) {
        fail(__FILE__, __LINE__, std::string("threw ") + error.what());
    }
    if (now.failures == 0) {
        now.passed++;
        std::printf("ok %s\n", name.c_str());
    } else {
        now.failed++;
        const std::string more = now.failures > 1 ? " (and " + std::to_string(now.failures - 1) + " more)" : "";
        std::printf("not ok %s - %s%s\n", name.c_str(), now.first.c_str(), more.c_str());
    }
    std::fflush(stdout);
}

inline void begin(int argc, char** argv) {
    if (argc > 1) state().seed = std::strtoull(argv[1], nullptr, 10);
    std::printf("# seed %llu\n", static_cast<unsigned long long>(state().seed));
}

inline int finish() {
    std::printf("# %ld checks\n%d passed, %d failed\n", state().checks, state().passed, state().failed);
    return state().failed == 0 ? 0 : 1;
}

}  // namespace check

#define CHECK(condition)                                                        \
    do {                                                                        \
        check::state().checks++;                                                \
        if (!(condition)) check::fail(__FILE__, __LINE__, #condition);          \
    } while (0)
#define CHECK_RELATION(a, relation, b)                                                              \
    do {                                                                                            \
        const auto check_a = (a);                                                                   \
        const auto check_b = (b);                                                                   \
        check::compare(check_a relation check_b, __FILE__, __LINE__, #a, #relation, #b, check_a, check_b); \
    } while (0)
#define CHECK_EQUAL(a, b) CHECK_RELATION(a, ==, b)
#define CHECK_AT_MOST(a, b) CHECK_RELATION(a, <=, b)
#define CHECK_AT_LEAST(a, b) CHECK_RELATION(a, >=, b)

// Of what gives an error's code, or an empty string where there is none.
#define CHECK_CODE(found, expected) \
    do { \
        const std::string check_found = (found); \
        check::state().checks++; \
        if (check_found != (expected)) check::fail(__FILE__, __LINE__, std::string(#found) + " gives '" + check_found + "'"); \
    } while (0)
