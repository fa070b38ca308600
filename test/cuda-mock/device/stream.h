#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

// Streams do their work as late as CUDA allows: when somebody waits for it. So whoever reads too early reads old bytes, every time.

namespace cuda_mock {

using Work = std::function<void()>;
using Graph = std::vector<Work>;

/** What a stream had been given when the event was recorded. */
struct Event {
    std::shared_ptr<class Stream> stream;
    uint64_t position = 0;
    std::shared_ptr<Graph> captured;  // recorded while this graph was captured
};

class Stream : public std::enable_shared_from_this<Stream> {
public:
    /** Also to the graph that is being captured, where that is so. */
    void enqueue(Work work);
    /** Does what was enqueued before this position. */
    void run_until(uint64_t position);
    void run_all() { run_until(given_); }

    void record(Event& event);
    /** Later work runs after what the event stands for. On an event of a capture the stream joins it. */
    void wait_for(const Event& event);

    bool capturing() const { return graph_ != nullptr; }
    void begin_capture() { graph_ = std::make_shared<Graph>(); }
    /** Ends it for all streams that joined. Null if nothing was being captured. */
    std::shared_ptr<Graph> end_capture();

private:
    std::deque<Work> work_;
    uint64_t given_ = 0, done_ = 0;
    std::shared_ptr<Graph> graph_;
};

/** Held by each call of the mock's interfaces. */
std::recursive_mutex& device_mutex();

std::shared_ptr<Stream> new_stream();
/** The default stream for handles 0, 1 and 2. */
std::shared_ptr<Stream> stream_of(void* handle);
/** Does its work first. */
void destroy_stream(void* handle);
void run_all_streams();

}  // namespace cuda_mock
