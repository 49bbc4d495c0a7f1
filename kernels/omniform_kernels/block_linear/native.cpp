// Block-scaled linear maps on a CPU: a row of the weight is decoded in C++ while it lies in the cache.
//
//     N tokens   D inputs   E outputs   P inputs rounded up to whole blocks   G block size
//
// Byte j of a unit of 16 holds input j in its low and input j + 16 in its high half; `levels` are the 16 numbers.
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int64_t HALF = 16;

// The numbers of a unit.
#if defined(__GNUC__) && !defined(__clang__)
typedef uint8_t Bytes __attribute__((vector_size(HALF)));

void look_up(const uint8_t* packed, const int8_t* levels, int8_t* numbers) {
    Bytes table, codes;  // 16 look-ups are one permutation of the 16 numbers
    std::memcpy(&table, levels, HALF);
    std::memcpy(&codes, packed, HALF);
    const Bytes low = __builtin_shuffle(table, codes & 15), high = __builtin_shuffle(table, codes >> 4);
    std::memcpy(numbers, &low, HALF);
    std::memcpy(numbers + HALF, &high, HALF);
}
#else
void look_up(const uint8_t* packed, const int8_t* levels, int8_t* numbers) {
    for (int64_t j = 0; j < HALF; ++j) {
        numbers[j] = levels[packed[j] & 15];
        numbers[j + HALF] = levels[packed[j] >> 4];
    }
}
#endif

void scale_block(const int8_t* __restrict numbers, float scale, float* __restrict weight, int64_t G) {
#pragma omp simd
    for (int64_t i = 0; i < G; ++i) weight[i] = scale * static_cast<float>(numbers[i]);
}

// A row of the weight (P,).
void decode(const uint8_t* packed, const float* scales, const int8_t* levels, int8_t* numbers, float* weight, int64_t P,
            int64_t G) {
    for (int64_t start = 0; start < P; start += 2 * HALF) look_up(packed + start / 2, levels, numbers + start);
    for (int64_t block = 0; block < P / G; ++block)
        scale_block(numbers + block * G, scales[block], weight + block * G, G);
}

float dot(const float* a, const float* b, int64_t D) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < D; ++i) sum += a[i] * b[i];
    return sum;
}

}  // namespace

extern "C" {

// packed (E, P / 2), scales (E, P / G) -> weight (E, P)
void dequantize(int threads, const uint8_t* packed, const float* scales, const int8_t* levels, float* weight, int64_t E,
                int64_t P, int64_t G) {
#pragma omp parallel num_threads(threads) if (E * P > 65536)
    {
        std::vector<int8_t> numbers(P);
#pragma omp for
        for (int64_t o = 0; o < E; ++o)
            decode(packed + o * P / 2, scales + o * (P / G), levels, numbers.data(), weight + o * P, P, G);
    }
}

// x (N, D) -> y (N, E)
void multiply(int threads, const float* x, const uint8_t* packed, const float* scales, const int8_t* levels,
              const float* bias, float* y, int64_t N, int64_t D, int64_t E, int64_t P, int64_t G) {
#pragma omp parallel num_threads(threads) if (E * P > 65536)
    {
        std::vector<int8_t> numbers(P);
        std::vector<float> weight(P);
#pragma omp for
        for (int64_t o = 0; o < E; ++o) {
            decode(packed + o * P / 2, scales + o * (P / G), levels, numbers.data(), weight.data(), P, G);
            for (int64_t n = 0; n < N; ++n) y[n * E + o] = dot(x + n * D, weight.data(), D) + (bias ? bias[o] : 0.0f);
        }
    }
}
}
