#include "../device/errors.h"
#include "../device/report.h"
#include "../device/stream.h"

// Streams, events and graphs. A graph's handle is a shared pointer of its own.

using namespace cuda_mock;

using GraphHandle = std::shared_ptr<Graph>;

extern "C" {

int cudaStreamCreateWithFlags(void** stream, unsigned) {
    return guarded([=] {
        *stream = new_stream().get();
        return Success;
    });
}
int cudaStreamDestroy(void* stream) {
    return guarded([=] {
        destroy_stream(stream);
        return Success;
    });
}
int cudaStreamSynchronize(void* stream) {
    return guarded([=] {
        count(Count::StreamWait);
        if (stream_of(stream)->capturing()) return CaptureUnsupported;
        stream_of(stream)->run_all();
        return Success;
    });
}
int cudaStreamWaitEvent(void* stream, void* event, unsigned) {
    return guarded([=] {
        stream_of(stream)->wait_for(*static_cast<Event*>(event));
        return Success;
    });
}
int cudaStreamIsCapturing(void* stream, int* status) {
    return guarded([=] {
        *status = stream_of(stream)->capturing();
        return Success;
    });
}
int cudaStreamBeginCapture(void* stream, int) {
    return guarded([=] {
        count(Count::Capture);
        stream_of(stream)->begin_capture();
        return Success;
    });
}
int cudaStreamEndCapture(void* stream, void** graph) {
    return guarded([=] {
        GraphHandle captured = stream_of(stream)->end_capture();
        if (captured == nullptr) return InvalidValue;
        *graph = new GraphHandle(std::move(captured));
        return Success;
    });
}

int cudaEventCreateWithFlags(void** event, unsigned) {
    *event = new Event;
    return Success;
}
int cudaEventDestroy(void* event) {
    delete static_cast<Event*>(event);
    return Success;
}
int cudaEventRecord(void* event, void* stream) {
    return guarded([=] {
        stream_of(stream)->record(*static_cast<Event*>(event));
        return Success;
    });
}
int cudaEventSynchronize(void* event) {
    return guarded([=] {
        count(Count::EventWait);
        const Event& recorded = *static_cast<Event*>(event);
        if (recorded.stream != nullptr) recorded.stream->run_until(recorded.position);
        return Success;
    });
}

int cudaGraphInstantiate(void** executable, void* graph, unsigned long long) {
    *executable = new GraphHandle(*static_cast<GraphHandle*>(graph));
    return Success;
}
int cudaGraphExecUpdate(void* executable, void* graph, void* result) {
    return guarded([=] {
        *static_cast<GraphHandle*>(executable) = *static_cast<GraphHandle*>(graph);
        if (result != nullptr) *static_cast<int*>(result) = 0;  // cudaGraphExecUpdateSuccess
        return Success;
    });
}
int cudaGraphLaunch(void* executable, void* stream) {
    return guarded([=] {
        count(Count::GraphLaunch);
        stream_of(stream)->enqueue([graph = *static_cast<GraphHandle*>(executable)] {
            for (const Work& work : *graph)
                work();
        });
        return Success;
    });
}
int cudaGraphDestroy(void* graph) {
    delete static_cast<GraphHandle*>(graph);
    return Success;
}
int cudaGraphExecDestroy(void* executable) {
    delete static_cast<GraphHandle*>(executable);
    return Success;
}

}  // extern "C"
