#include "tier_options.h"

#include <string>

#include "failure.h"

namespace deltastore {

Eviction eviction_of(const Napi::Object& config) {
    Eviction eviction;
    const std::string schedule = config.Get("schedule").As<Napi::String>(), scorer = config.Get("scorer").As<Napi::String>();
    eviction.keep = config.Get("keep").As<Napi::Number>().DoubleValue();
    eviction.schedule = schedule_by_name(schedule.c_str());
    eviction.scorer = scorer_by_name(scorer.c_str());
    eviction.slack = config.Get("slack").As<Napi::Number>().Int32Value();
    if (eviction.schedule == nullptr) throw CodedError("OPTION_INVALID", "There is no schedule " + schedule);
    if (eviction.scorer == nullptr) throw CodedError("OPTION_INVALID", "There is no scorer " + scorer);
    return eviction;
}

Tier tier_of(const Napi::Object& config) {
    Tier tier;
    tier.name = config.Get("name").As<Napi::String>().Utf8Value();
    const std::string format = config.Get("format").As<Napi::String>().Utf8Value();
    if (!format_by_name(format.c_str(), tier.format)) throw CodedError("OPTION_INVALID", "There is no page format " + format);
    const std::string window_format = config.Get("windowFormat").As<Napi::String>().Utf8Value();
    if (!format_by_name(window_format.c_str(), tier.window_format) || format_info(tier.window_format).packed)
        throw CodedError("OPTION_INVALID", "There is no window format " + window_format);
    tier.window = config.Get("window").As<Napi::Number>().Int32Value();
    tier.sinks = config.Get("sinks").As<Napi::Number>().Int32Value();
    if (tier.window == 0 && format_info(tier.format).refined > 0)
        throw CodedError("OPTION_INVALID", "Tier " + tier.name + " has important rows and no window to find them in");
    const Napi::Value eviction = config.Get("eviction");
    if (eviction.IsObject()) tier.eviction = eviction_of(eviction.As<Napi::Object>());
    return tier;
}

}  // namespace deltastore
