// State files as bytes: saving and loading them, and what a refused one must leave as it was.
#pragma once

#include "failure.h"
#include "snapshot/state.h"
#include "cache_model.h"
#include "origins.h"

namespace deltastore {

using Bytes = std::vector<uint8_t>;
inline constexpr size_t kMany = 1 << 20;

inline CacheOptions make_options(Format format, int window = 16, int sinks = 4, size_t limit = 0) {
    CacheOptions options;
    options.layers = {{4, 2, {64, 64}}, {2, 1, {80, 96}}, {1, 1, {64, 64, /*latent*/ true}}};
    options.format = format;
    options.window_format = window_format_of(format);
    options.window = window;
    options.sinks = sinks;
    options.pool_limit = limit;
    options.max_sequences = 3;
    return options;
}

inline CacheOptions small_options(Format format) {
    CacheOptions options = make_options(format, format_info(format).refined > 0 ? 16 : 0, 4);
    options.layers = {{1, 1, {64, 64}}};
    return options;
}

inline Bytes save(const CacheModel& model, const std::vector<int>& sequences, const Origin& origin = kOrigin) {
    Bytes bytes;
    write_state(model.cache, origin, sequences, [&](const void* source, size_t count) {
        const uint8_t* from = static_cast<const uint8_t*>(source);
        bytes.insert(bytes.end(), from, from + count);
    });
    return bytes;
}

// The code that reading throws; empty if it succeeds. `message`: the error's.
inline std::string load(CacheModel& model, const Bytes& bytes, int target = -1, const Own& own = {}, size_t most = kMany, std::string* message = nullptr) {
    size_t at = 0;
    try {
        read_state(model.cache, own.origin, own.fingerprint, target, most, [&](void* wanted, size_t count) {
            if (count > bytes.size() - at) throw std::runtime_error("end of file");
            std::memcpy(wanted, bytes.data() + at, count);
            at += count;
        });
    } catch (const CodedError& error) {
        if (message != nullptr) *message = error.what();
        return error.code();
    }
    CHECK_EQUAL(at, bytes.size());
    return "";
}

// A cache that must not change, whatever is loaded into it.
class Unchanged {
public:
    explicit Unchanged(const CacheModel& model)
        : model_(model), tables_(model.tables()), pages_(model.cache.stats().pages), own_(model.own_bytes()),
          centres_(model.cache.centres().count()) {}
    void check() const {
        CHECK(model_.same_tables(tables_));
        CHECK_EQUAL(model_.cache.stats().pages, pages_);
        CHECK_EQUAL(model_.own_bytes(), own_);
        CHECK_EQUAL(model_.cache.centres().count(), centres_);
    }

private:
    const CacheModel& model_;
    std::vector<std::vector<PageTable>> tables_;
    size_t pages_, own_;
    int centres_;
};

// A small state of two sequences, with packed and exact pages, and a cache that holds other rows.
struct Damaged {
    explicit Damaged(Format format, size_t limit = 0)
        : source(small_options(format), *select_kernels(), 1), target(with_limit(small_options(format), limit), *select_kernels(), 2) {
        source.add(0, 70);
        source.add(1, 3);
        bytes = save(source, {0, 1});
        target.add(0, 80);
        target.add(2, 5);
    }
    static CacheOptions with_limit(CacheOptions options, size_t limit) {
        options.pool_limit = limit;
        return options;
    }
    CacheModel source, target;
    Bytes bytes;
};

}  // namespace deltastore
