#include "codecs.h"

#include "channel_codec.h"
#include "transform_codec.h"
#include "transform_training.h"
#include "vector_codec.h"

namespace deltastore {

std::unique_ptr<Training> make_training(const CodecOptions& options, const StoredHead& head, ByteSpan turns) {
    switch (options.kind) {
        case CodecOptions::Kind::transform: return std::make_unique<TransformTraining>(head, turns, *select_kernels());
        case CodecOptions::Kind::vector:
        case CodecOptions::Kind::product: return std::make_unique<VectorTraining>(head.shapes(), options, *select_kernels());
        case CodecOptions::Kind::channel: break;
    }
    return nullptr;
}

std::unique_ptr<RowCodec> make_codec(const CodecOptions& options, const StoredHead& head, ByteSpan book) {
    SpanReader span(book);
    Reader reader = span.reader();
    std::unique_ptr<RowCodec> codec;
    switch (options.kind) {
        case CodecOptions::Kind::transform: codec = std::make_unique<TransformCodec>(head, options, reader, *select_kernels()); break;
        case CodecOptions::Kind::vector:
        case CodecOptions::Kind::product: codec = std::make_unique<VectorCodec>(head.shapes(), options, reader, *select_kernels()); break;
        case CodecOptions::Kind::channel: codec = std::make_unique<ChannelCodec>(options); break;
    }
    span.finish();
    return codec;
}

}  // namespace deltastore
