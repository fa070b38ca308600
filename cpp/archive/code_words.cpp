#include "code_words.h"

#include <algorithm>
#include <limits>
#include <random>

namespace deltastore {

static constexpr int kTogether = 64;  // vectors whose distances stay in the processor's cache
static constexpr int kIterations = 8;

CodeWords::CodeWords(const std::vector<float>& words, int dims) : dims_(dims), words_(dims, kCount), offsets_(kCount) {
    for (int word = 0; word < kCount; word++)
        for (int d = 0; d < dims; d++) {
            const float x = words[size_t(word) * dims + d];
            words_.at(d, word) = x;
            offsets_[word] -= x * x / 2;
        }
}

// In lanes, which compilers make vectors of.
static uint8_t index_of_largest(const float* values) {
    constexpr int lanes = 16;
    float largest[lanes];
    std::copy_n(values, lanes, largest);
    for (int i = lanes; i < CodeWords::kCount; i += lanes)
        for (int lane = 0; lane < lanes; lane++) largest[lane] = std::max(largest[lane], values[i + lane]);
    const int lane = int(std::max_element(largest, largest + lanes) - largest);
    int index = lane;
    while (values[index] != largest[lane] && index + lanes < CodeWords::kCount) index += lanes;
    return uint8_t(index);
}

// |vector - word|^2 is least where vector · word - |word|^2 / 2 is largest.
void CodeWords::nearest(const Kernels& kernels, const float* vectors, int count, uint8_t* codes) const {
    std::vector<float> nearness(size_t(kTogether) * kCount);
    for (int first = 0; first < count; first += kTogether) {
        const int some = std::min(kTogether, count - first);
        for (int i = 0; i < some; i++) std::copy(offsets_.begin(), offsets_.end(), &nearness[size_t(i) * kCount]);
        words_.add_product(kernels, vectors + size_t(first) * dims_, some, kCount, nearness.data(), kCount);
        for (int i = 0; i < some; i++) codes[first + i] = index_of_largest(&nearness[size_t(i) * kCount]);
    }
}

void CodeWords::copy(uint8_t code, float* vector) const {
    for (int d = 0; d < dims_; d++) vector[d] = words_.at(d, code);
}

// k-means++ (Arthur & Vassilvitskii 2007): the next word is a vector, chosen with a probability that grows with its squared distance from the words so far.
static std::vector<float> first_words(const std::vector<float>& vectors, int dims) {
    std::mt19937 random;  // gives the same numbers everywhere; the library's distributions don't
    const size_t count = vectors.size() / dims;
    std::vector<float> words, distances(count, std::numeric_limits<float>::max());
    size_t chosen = 0;
    for (int word = 0; word < CodeWords::kCount; word++) {
        const float* centre = &vectors[chosen * dims];
        words.insert(words.end(), centre, centre + dims);
        double sum = 0;
        for (size_t i = 0; i < count; i++) {
            float distance = 0;
            for (int d = 0; d < dims; d++) distance += (vectors[i * dims + d] - centre[d]) * (vectors[i * dims + d] - centre[d]);
            sum += distances[i] = std::min(distances[i], distance);
        }
        double left = sum * (random() * 0x1p-32);
        for (chosen = 0; chosen + 1 < count && left >= distances[chosen]; chosen++) left -= distances[chosen];
    }
    return words;
}

std::vector<float> k_means(const Kernels& kernels, const std::vector<float>& vectors, int dims) {
    std::vector<float> words = first_words(vectors, dims);
    std::vector<uint8_t> codes(vectors.size() / dims);
    for (int iteration = 0; iteration < kIterations; iteration++) {
        CodeWords(words, dims).nearest(kernels, vectors.data(), int(codes.size()), codes.data());
        std::vector<float> sums(words.size());
        std::vector<int> counts(CodeWords::kCount);
        for (size_t i = 0; i < codes.size(); i++) {
            counts[codes[i]]++;
            for (int d = 0; d < dims; d++) sums[codes[i] * dims + d] += vectors[i * dims + d];
        }
        for (size_t i = 0; i < words.size(); i++)
            if (counts[i / dims] > 0) words[i] = sums[i] / float(counts[i / dims]);
    }
    return words;
}

}  // namespace deltastore
