#include "content_hash.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#define XXH_INLINE_ALL
#include "xxhash.h"

#include "failure.h"

namespace deltastore {

namespace {

constexpr size_t kPieceBytes = size_t(16) << 20;  // what a thread hashes at a time: the hash depends on it
constexpr size_t kReadBytes = size_t(512) << 10;  // stays in the processor's cache until it is hashed
constexpr unsigned kMostThreads = 4;              // more are no faster: memory is as fast as it is

CodedError unreadable(const std::string& path, int error) {
    return CodedError("MODEL_NOT_FOUND", "The file " + path + " can't be read: " + std::strerror(error));
}

class OpenFile {
public:
    // Not blocking, as a pipe would wait for its other end.
    explicit OpenFile(const std::string& path) : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
        if (descriptor_ < 0) throw unreadable(path_, errno);
    }
    ~OpenFile() { close(descriptor_); }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;

    size_t bytes() const {
        struct stat status;
        if (fstat(descriptor_, &status) != 0) throw unreadable(path_, errno);
        if (!S_ISREG(status.st_mode)) throw CodedError("MODEL_NOT_FOUND", "The file " + path_ + " can't be read: it is not a file");
        return size_t(status.st_size);
    }

    // Read, as a file that is mapped and cut kills the process.
    void read(void* target, size_t count, size_t offset) const {
        for (size_t done = 0; done < count;) {
            const ssize_t some = pread(descriptor_, static_cast<uint8_t*>(target) + done, count - done, off_t(offset + done));
            if (some == 0) throw CodedError("MODEL_CHANGED", "The file " + path_ + " got shorter while it was read");
            if (some < 0 && errno != EINTR) throw unreadable(path_, errno);
            if (some > 0) done += size_t(some);
        }
    }

private:
    const std::string& path_;
    int descriptor_;
};

XXH128_canonical_t canonical(XXH128_hash_t hash) {
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, hash);
    return bytes;
}

class Pieces {
public:
    explicit Pieces(const OpenFile& file) : file_(file), bytes_(file.bytes()), hashes_((bytes_ + kPieceBytes - 1) / kPieceBytes) {}

    size_t count() const { return hashes_.size(); }

    // Hashes pieces until there are no more; on as many threads as you like.
    void work() {
        try {
            const std::unique_ptr<uint8_t[]> buffer(new uint8_t[kReadBytes]);
            for (size_t piece; (piece = next_++) < hashes_.size();) hash(piece, buffer.get());
        } catch (...) {
            next_ = hashes_.size();
            std::lock_guard<std::mutex> guard(mutex_);
            if (failure_ == nullptr) failure_ = std::current_exception();
        }
    }

    ContentHash result() const {
        if (failure_ != nullptr) std::rethrow_exception(failure_);
        const XXH128_canonical_t all = canonical(XXH3_128bits_withSeed(hashes_.data(), hashes_.size() * sizeof hashes_[0], bytes_));
        ContentHash result;
        std::copy(std::begin(all.digest), std::end(all.digest), result.begin());
        return result;
    }

private:
    void hash(size_t piece, uint8_t* buffer) {
        XXH3_state_t state;
        XXH3_128bits_reset(&state);
        const size_t begin = piece * kPieceBytes, end = std::min(bytes_, begin + kPieceBytes);
        for (size_t at = begin; at < end; at += kReadBytes) {
            const size_t count = std::min(kReadBytes, end - at);
            file_.read(buffer, count, at);
            XXH3_128bits_update(&state, buffer, count);
        }
        hashes_[piece] = canonical(XXH3_128bits_digest(&state));
    }

    const OpenFile& file_;
    size_t bytes_;
    std::vector<XXH128_canonical_t> hashes_;
    std::atomic<size_t> next_{0};
    std::mutex mutex_;
    std::exception_ptr failure_;
};

}  // namespace

ContentHash content_hash(const std::string& path) {
    const OpenFile file(path);
    Pieces pieces(file);
    const size_t wanted = std::min<size_t>(std::min(std::max(std::thread::hardware_concurrency(), 1u), kMostThreads), pieces.count());
    std::vector<std::thread> others;
    others.reserve(kMostThreads);
    try {
        while (others.size() + 1 < wanted) others.emplace_back([&] { pieces.work(); });
    } catch (const std::exception&) {  // no more threads are to be had: those that there are do it
    }
    pieces.work();
    for (std::thread& other : others) other.join();
    return pieces.result();
}

}  // namespace deltastore
