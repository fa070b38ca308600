// A code book: 256 code words, one for each byte.
#pragma once

#include <cstdint>
#include <vector>

#include "panels.h"

namespace deltastore {

class CodeWords {
public:
    static constexpr int kCount = 256;
    // words: [word][dims]
    CodeWords(const std::vector<float>& words, int dims);
    // codes[i]: of the code word nearest to vectors[i][dims].
    void nearest(const Kernels& kernels, const float* vectors, int count, uint8_t* codes) const;
    void copy(uint8_t code, float* vector) const;

private:
    int dims_;
    Panels words_;                // [dim][word]
    std::vector<float> offsets_;  // [word] -|word|^2 / 2
};

// Code words [word][dims] for vectors [vector][dims], one at least. The same vectors give the same words.
std::vector<float> k_means(const Kernels& kernels, const std::vector<float>& vectors, int dims);

}  // namespace deltastore
