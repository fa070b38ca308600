// Makes the symbols of the llama.cpp libraries that node-llama-cpp has loaded visible to the engine, which is linked without
// them and so works with every variant (cpu, cuda, vulkan).
#include <dlfcn.h>
#include <link.h>
#include <napi.h>

#include <cstring>
#include <string>
#include <vector>

static int collect(dl_phdr_info* info, size_t, void* data) {
    if (info->dlpi_name && *info->dlpi_name) static_cast<std::vector<std::string>*>(data)->push_back(info->dlpi_name);
    return 0;
}

static bool is_runtime_library(const std::string& path) {
    const std::string name = path.substr(path.rfind('/') + 1);
    for (const char* prefix : {"libllama", "libggml", "llama-addon"})
        if (name.compare(0, std::strlen(prefix), prefix) == 0) return true;
    return false;
}

// promote(): string[] - paths of the libraries promoted, in load order.
static Napi::Value promote(const Napi::CallbackInfo& info) {
    std::vector<std::string> loaded;
    dl_iterate_phdr(collect, &loaded);
    Napi::Array result = Napi::Array::New(info.Env());
    for (const std::string& path : loaded) {
        // The CPU backend has one library a kind of processor, with equal symbols; none of them is linked against.
        if (!is_runtime_library(path)) continue;
        if (path.find("libggml-cpu") == std::string::npos && !dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD | RTLD_GLOBAL)) continue;
        result.Set(result.Length(), Napi::String::New(info.Env(), path));
    }
    return result;
}

static Napi::Object init(Napi::Env env, Napi::Object exports) {
    exports.Set("promote", Napi::Function::New(env, promote, "promote"));
    return exports;
}
NODE_API_MODULE(deltastore_loader, init)
