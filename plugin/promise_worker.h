// Work off the event loop that settles a promise; errors keep their code.
#pragma once

#include <napi.h>

#include <functional>
#include <string>

#include "failure.h"

namespace deltastore {

inline Napi::Error coded_error(Napi::Env env, const std::string& code, const std::string& message) {
    Napi::Error error = Napi::Error::New(env, message);
    error.Set("code", Napi::String::New(env, code));
    return error;
}

// Runs `work` and turns what it throws into a coded error of `env`, for synchronous calls.
template <typename Work>
auto throwing_coded(Napi::Env env, Work work) -> decltype(work()) {
    try {
        return work();
    } catch (const CodedError& error) {
        throw coded_error(env, error.code(), error.what());
    } catch (const Napi::Error&) {
        throw;
    } catch (const std::bad_alloc&) {
        throw coded_error(env, "OUT_OF_MEMORY", "The system gave no memory");
    } catch (const std::exception& error) {
        throw coded_error(env, "NATIVE_FAILURE", error.what());
    }
}

class PromiseWorker final : public Napi::AsyncWorker {
public:
    using Result = std::function<Napi::Value(Napi::Env)>;
    // `work` runs on a thread of the pool and returns what makes the result on the event loop. `keep` stays referenced meanwhile.
    static Napi::Promise run(Napi::Env env, Napi::Object keep, std::function<Result()> work) {
        auto* worker = new PromiseWorker(env, keep, std::move(work));
        const Napi::Promise promise = worker->deferred_.Promise();
        worker->Queue();
        return promise;
    }

private:
    PromiseWorker(Napi::Env env, Napi::Object keep, std::function<Result()> work)
        : AsyncWorker(env, "DeltaStore"), deferred_(Napi::Promise::Deferred::New(env)), keep_(Napi::Persistent(keep)), work_(std::move(work)) {}

    void Execute() override {
        try {
            result_ = work_();
        } catch (const CodedError& error) {
            code_ = error.code();
            SetError(error.what());
        } catch (const std::bad_alloc&) {
            code_ = "OUT_OF_MEMORY";
            SetError("The system gave no memory");
        } catch (const std::exception& error) {
            code_ = "NATIVE_FAILURE";
            SetError(error.what());
        } catch (...) {
            code_ = "NATIVE_FAILURE";
            SetError("Unknown native error");
        }
    }
    void OnOK() override { deferred_.Resolve(result_ ? result_(Env()) : Env().Undefined()); }
    void OnError(const Napi::Error& error) override { deferred_.Reject(coded_error(Env(), code_, error.Message()).Value()); }

    Napi::Promise::Deferred deferred_;
    Napi::ObjectReference keep_;
    std::function<Result()> work_;
    Result result_;
    std::string code_ = "NATIVE_FAILURE";
};

}  // namespace deltastore
