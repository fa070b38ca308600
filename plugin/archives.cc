#include "archives.h"

#include <memory>
#include <mutex>

#include "archive/codecs.h"
#include "archive/frozen_part.h"
#include "archive/part_rows.h"
#include "byte_values.h"
#include "live.h"
#include "low_priority.h"
#include "promise_worker.h"

namespace deltastore {

namespace {

// A training under way, and the head that it is for.
struct Trainer {
    Trainer(const CodecOptions& options, ByteSpan head, ByteSpan turns)
        : bytes(head.data, head.data + head.size), head(head, {}), training(make_training(options, this->head, turns)) {
        if (training == nullptr) throw CodedError("OPTION_INVALID", "The codec learns nothing");
    }
    const Bytes bytes;
    const StoredHead head;
    const std::unique_ptr<Training> training;
    std::mutex adding;
};

// A codec with its book, for the model that the head is of.
struct Book {
    Book(const CodecOptions& options, ByteSpan bytes, ByteSpan book) : kind(options.kind), head(bytes, {}), codec(make_codec(options, head, book)) {}
    const CodecOptions::Kind kind;
    const StoredHead head;
    const std::unique_ptr<RowCodec> codec;
};

template <typename T>
Napi::Value hold(Napi::Env env, std::shared_ptr<T> held) {
    return Napi::External<std::shared_ptr<T>>::New(env, new std::shared_ptr<T>(std::move(held)), [](Napi::Env, std::shared_ptr<T>* held) { delete held; });
}

template <typename T>
std::shared_ptr<T> held(const Napi::Value& value) {
    return *value.As<Napi::External<std::shared_ptr<T>>>().Data();
}

// `ArchiveCodec` of ts/engine/native.ts, which has checked it.
CodecOptions options_of(const Napi::Value& value) {
    const Napi::Object given = value.As<Napi::Object>();
    const auto number = [&](const char* name) { return given.Has(name) ? given.Get(name).ToNumber().DoubleValue() : 0; };
    const std::string name = given.Get("name").ToString();
    CodecOptions options;
    options.kind = name == "vq" ? CodecOptions::Kind::vector : name == "pq" ? CodecOptions::Kind::product : name == "channel" ? CodecOptions::Kind::channel
                                                                                                          : CodecOptions::Kind::transform;
    options.ratio = float(number("ratio"));
    options.size = uint8_t(number("size"));
    options.threshold = float(number("threshold"));
    options.key_bits = uint8_t(number("keyBits"));
    options.value_bits = uint8_t(number("valueBits"));
    options.group = uint16_t(number("group"));
    return options;
}

// Keeps what a worker reads.
Napi::Object keeper(const Napi::CallbackInfo& info) {
    Napi::Array kept = Napi::Array::New(info.Env(), info.Length());
    for (size_t i = 0; i < info.Length(); i++) kept.Set(uint32_t(i), info[i]);
    return kept;
}

// On parts, by the codec of a book; or of the options, for one that needs none. Arguments: codec, book or null, head, centres, parts.
template <typename Work>
Napi::Value on_parts(const Napi::CallbackInfo& info, Work work) {
    const CodecOptions options = options_of(info[0]);
    const std::shared_ptr<Book> book = info[1].IsNull() ? nullptr : held<Book>(info[1]);
    const ByteSpan head = span_of(info[2]);
    const std::vector<ByteSpan> centres = spans_of(info[3]), parts = spans_of(info[4]);
    return PromiseWorker::run(info.Env(), keeper(info), [=]() -> PromiseWorker::Result {
        const StoredHead with_centres(head, centres);
        const std::shared_ptr<Book> used = book != nullptr ? book : std::make_shared<Book>(options, head, ByteSpan());
        if (used->head.made_with() != with_centres.made_with()) throw CodedError("STATE_MODEL_MISMATCH", "The book is of another model");
        const auto done = std::make_shared<std::vector<Bytes>>(work(with_centres, *used, parts));
        return [done](Napi::Env env) -> Napi::Value { return give_all(env, *done); };
    });
}

}  // namespace

Napi::Value key_turns(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const Bytes& bytes = live_memory(unwrap(info[0])).key_turns();
        return Napi::Buffer<uint8_t>::Copy(info.Env(), bytes.data(), bytes.size());
    });
}

Napi::Value begin_training(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        return hold(info.Env(), std::make_shared<Trainer>(options_of(info[0]), span_of(info[1]), span_of(info[2])));
    });
}

Napi::Value add_training(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const std::shared_ptr<Trainer> trainer = held<Trainer>(info[0]);
        const std::vector<ByteSpan> centres = spans_of(info[1]), blocks = spans_of(info[2]);
        return PromiseWorker::run(info.Env(), keeper(info), [=]() -> PromiseWorker::Result {
            const StoredHead head({trainer->bytes.data(), trainer->bytes.size()}, centres);
            std::lock_guard<std::mutex> guard(trainer->adding);
            at_low_priority([&] {
                for (const ByteSpan& block : blocks) trainer->training->add(rows_of(head, read_part(head, block), *select_kernels()));
            });
            return [rows = trainer->training->rows()](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, rows); };
        });
    });
}

Napi::Value end_training(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const std::shared_ptr<Trainer> trainer = held<Trainer>(info[0]);
        return PromiseWorker::run(info.Env(), keeper(info), [=]() -> PromiseWorker::Result {
            const auto book = std::make_shared<Bytes>();
            Writer writer = writer_to(*book);
            std::lock_guard<std::mutex> guard(trainer->adding);
            at_low_priority([&] { trainer->training->write(writer); });
            return [book](Napi::Env env) -> Napi::Value { return give(env, std::move(*book)); };
        });
    });
}

Napi::Value open_book(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const CodecOptions options = options_of(info[0]);
        const ByteSpan head = span_of(info[1]), bytes = span_of(info[2]);
        return PromiseWorker::run(info.Env(), keeper(info), [=]() -> PromiseWorker::Result {
            const auto book = std::make_shared<Book>(options, head, bytes);
            return [book](Napi::Env env) -> Napi::Value { return hold(env, book); };
        });
    });
}

Napi::Value freeze_parts(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const bool fine = info[5].ToBoolean();
        return on_parts(info, [fine](const StoredHead& head, const Book& book, const std::vector<ByteSpan>& parts) {
            std::vector<Bytes> frozen;
            at_low_priority([&] { frozen = freeze_parts(head, *book.codec, book.kind, fine, parts); });
            return frozen;
        });
    });
}

Napi::Value thaw_parts(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        return on_parts(info, [](const StoredHead& head, const Book& book, const std::vector<ByteSpan>& parts) {
            return thaw_parts(head, *book.codec, book.kind, parts);
        });
    });
}

}  // namespace deltastore
