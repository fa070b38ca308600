#include "stream.h"

#include <algorithm>

namespace cuda_mock {

static std::vector<std::shared_ptr<Stream>>& streams() {
    static auto* all = new std::vector<std::shared_ptr<Stream>>{std::make_shared<Stream>()};  // the first is the default one
    return *all;
}

std::recursive_mutex& device_mutex() {
    static auto* mutex = new std::recursive_mutex;
    return *mutex;
}

void Stream::enqueue(Work work) {
    if (graph_ != nullptr) {
        graph_->push_back(std::move(work));
        return;
    }
    work_.push_back(std::move(work));
    given_++;
}

void Stream::run_until(uint64_t position) {
    while (done_ < position && !work_.empty()) {
        const Work next = std::move(work_.front());
        work_.pop_front();
        done_++;
        next();
    }
}

void Stream::record(Event& event) { event = {shared_from_this(), given_, graph_}; }

void Stream::wait_for(const Event& event) {
    if (event.stream == nullptr) return;
    if (event.captured != nullptr && event.captured == event.stream->graph_) {
        graph_ = event.captured;
        return;
    }
    enqueue([stream = event.stream, position = event.position] { stream->run_until(position); });
}

std::shared_ptr<Graph> Stream::end_capture() {
    const std::shared_ptr<Graph> graph = graph_;
    for (const std::shared_ptr<Stream>& stream : streams())
        if (stream->graph_ == graph) stream->graph_ = nullptr;
    return graph;
}

std::shared_ptr<Stream> new_stream() { return streams().emplace_back(std::make_shared<Stream>()); }

std::shared_ptr<Stream> stream_of(void* handle) {
    return reinterpret_cast<uintptr_t>(handle) <= 2 ? streams().front() : static_cast<Stream*>(handle)->shared_from_this();
}

void destroy_stream(void* handle) {
    const std::shared_ptr<Stream> stream = stream_of(handle);
    stream->run_all();
    auto& all = streams();
    if (stream != all.front()) all.erase(std::remove(all.begin(), all.end(), stream), all.end());
}

void run_all_streams() {
    const auto all = streams();
    for (const std::shared_ptr<Stream>& stream : all)
        stream->run_all();
}

}  // namespace cuda_mock
