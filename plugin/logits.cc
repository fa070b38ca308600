#include "logits.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "promise_worker.h"

namespace deltastore {

namespace {

// A row's logits with what normalises them: log(sum(exp(logits))) is highest + log_sum, which are kept apart since their sum would
// round log_sum away where logits are very large. A NaN among them, or +inf, makes log_sum NaN, and so all that is derived from it.
struct Row {
    const float* logits;
    size_t top;
    double highest, log_sum;

    Row(const float* logits, size_t vocabulary) : logits(logits), top(std::max_element(logits, logits + vocabulary) - logits) {
        highest = logits[top];
        double sum = 0;
        for (size_t i = 0; i < vocabulary; i++) sum += std::exp(logits[i] - highest);
        log_sum = std::log(sum);
    }
    double log_probability(size_t token) const { return logits[token] - highest - log_sum; }
};

// Kullback-Leibler divergence of `other` from `base`, in nats.
double divergence(const Row& base, const Row& other, size_t vocabulary) {
    double sum = 0;
    for (size_t i = 0; i < vocabulary; i++) {
        const double log_p = base.log_probability(i), p = std::exp(log_p);
        if (p != 0) sum += p * (log_p - other.log_probability(i));  // 0 times minus infinity is no number
    }
    return sum;
}

struct Scores {
    std::vector<uint32_t> top;
    std::vector<double> log_loss;

    void add(const Row& row, uint32_t next) {
        top.push_back(uint32_t(row.top));
        log_loss.push_back(-row.log_probability(next));
    }
};

template <typename Array, typename T>
Array to_array(Napi::Env env, const std::vector<T>& values) {
    Array array = Array::New(env, values.size());
    std::copy(values.begin(), values.end(), array.Data());
    return array;
}

Napi::Object to_object(Napi::Env env, const Scores& scores) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("top", to_array<Napi::Uint32Array>(env, scores.top));
    object.Set("logLoss", to_array<Napi::Float64Array>(env, scores.log_loss));
    return object;
}

size_t vocabulary_of(const Napi::Float32Array& logits, const std::vector<uint32_t>& next) {
    const size_t length = logits.ElementLength(), vocabulary = next.empty() ? 0 : length / next.size();
    if (vocabulary == 0 || length % next.size() != 0)
        throw CodedError("OPTION_INVALID", std::to_string(length) + " logits are no rows for " + std::to_string(next.size()) + " tokens");
    for (const uint32_t token : next)
        if (token >= vocabulary)
            throw CodedError("OPTION_INVALID", "There is no token " + std::to_string(token) + " in a row of " + std::to_string(vocabulary));
    return vocabulary;
}

std::vector<uint32_t> tokens_of(const Napi::Value& value) {
    const Napi::Uint32Array array = value.As<Napi::Uint32Array>();
    return {array.Data(), array.Data() + array.ElementLength()};
}

}  // namespace

Napi::Value score_logits(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const Napi::Float32Array array = info[0].As<Napi::Float32Array>();
        const std::vector<uint32_t> next = tokens_of(info[1]);
        const size_t vocabulary = vocabulary_of(array, next);
        const float* logits = array.Data();
        return PromiseWorker::run(info.Env(), array, [=]() -> PromiseWorker::Result {
            auto scores = std::make_shared<Scores>();
            for (size_t row = 0; row < next.size(); row++) scores->add(Row(logits + row * vocabulary, vocabulary), next[row]);
            return [scores](Napi::Env env) -> Napi::Value { return to_object(env, *scores); };
        });
    });
}

Napi::Value compare_logits(const Napi::CallbackInfo& info) {
    return throwing_coded(info.Env(), [&]() -> Napi::Value {
        const Napi::Float32Array base = info[0].As<Napi::Float32Array>(), other = info[1].As<Napi::Float32Array>();
        const std::vector<uint32_t> next = tokens_of(info[2]);
        const size_t vocabulary = vocabulary_of(base, next);
        if (other.ElementLength() != base.ElementLength()) throw CodedError("OPTION_INVALID", "The rows to compare differ in number or length");
        Napi::Array both = Napi::Array::New(info.Env());
        both.Set(0u, base);
        both.Set(1u, other);
        const float* base_logits = base.Data();
        const float* other_logits = other.Data();
        return PromiseWorker::run(info.Env(), both, [=]() -> PromiseWorker::Result {
            struct Comparison {
                std::vector<double> kld;
                Scores base, other;
            };
            auto result = std::make_shared<Comparison>();
            for (size_t row = 0; row < next.size(); row++) {
                const Row p(base_logits + row * vocabulary, vocabulary), q(other_logits + row * vocabulary, vocabulary);
                result->kld.push_back(divergence(p, q, vocabulary));
                result->base.add(p, next[row]);
                result->other.add(q, next[row]);
            }
            return [result](Napi::Env env) -> Napi::Value {
                Napi::Object object = Napi::Object::New(env);
                object.Set("kld", to_array<Napi::Float64Array>(env, result->kld));
                object.Set("base", to_object(env, result->base));
                object.Set("other", to_object(env, result->other));
                return object;
            };
        });
    });
}

}  // namespace deltastore
