// Random numbers that are the same everywhere, which the standard library's distributions are not.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace deltastore {

// SplitMix64 (Steele, Lea & Flood 2014).
class Random {
public:
    explicit Random(uint64_t seed) : state_(seed) {}
    uint64_t next() {
        uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }
    // In [low, high], both included.
    int between(int low, int high) { return low + int(next() % uint64_t(high - low + 1)); }
    bool chance(double probability) { return uniform() < probability; }
    double uniform() { return double(next() >> 11) * 0x1p-53; }
    float gaussian() {
        const double u = 1.0 - uniform(), v = uniform();
        return float(std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v));
    }
    std::vector<float> gaussians(size_t count, float deviation = 1.0f) {
        std::vector<float> values(count);
        for (float& value : values) value = gaussian() * deviation;
        return values;
    }

private:
    uint64_t state_;
};

}  // namespace deltastore
