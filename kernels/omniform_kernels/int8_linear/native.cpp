// 8-bit linear maps on a CPU: rows are quantised in one pass while they lie in the cache, and few rows are multiplied
// here too, where a matrix product of torch would spend its time on preparations.
//
//     N tokens   D inputs   E outputs
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr float STEP = 1.0f / 127.0f;
constexpr float SMALLEST = 1e-30f;

// The largest magnitude, NaN if there is one: as integers, the bits of magnitudes are in order and NaN's are the last.
float largest_magnitude(const float* x, int64_t D) {
    int32_t largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < D; ++i) {
        int32_t bits;
        std::memcpy(&bits, x + i, 4);
        bits &= 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    float value;
    std::memcpy(&value, &largest, 4);
    return value < SMALLEST ? SMALLEST : value;  // NaN passes
}

// Apart, so that the compiler cannot merge it with the product before it: all forms round the same two results.
__attribute__((noinline)) float reciprocal(float scale) { return 1.0f / scale; }

// Return the row's scale; q gets its whole numbers.
float quantize_row(const float* x, int8_t* q, int64_t D) {
    const float scale = largest_magnitude(x, D) * STEP, factor = reciprocal(scale);
#pragma omp simd
    for (int64_t i = 0; i < D; ++i) q[i] = static_cast<int8_t>(static_cast<int32_t>(__builtin_rintf(x[i] * factor)));
    return scale;
}

// q.b for a = q + 128. Compilers know the processors' instruction for sums of unsigned by signed products, which few
// have for signed by signed ones; what the shift adds is taken off again.
int32_t dot(const uint8_t* a, const uint8_t* ones, const int8_t* b, int64_t D) {
    int32_t shifted = 0, sum = 0;
    for (int64_t i = 0; i < D; ++i) {
        shifted += static_cast<int32_t>(a[i]) * static_cast<int32_t>(b[i]);
        sum += static_cast<int32_t>(ones[i]) * static_cast<int32_t>(b[i]);
    }
    return shifted - 128 * sum;
}

}  // namespace

extern "C" {

// x (N, D) -> q (N, D), scale (N,)
void quantize(int threads, const float* x, int8_t* q, float* scale, int64_t N, int64_t D) {
#pragma omp parallel for num_threads(threads) if (N * D > 32768)
    for (int64_t n = 0; n < N; ++n) scale[n] = quantize_row(x + n * D, q + n * D, D);
}

// q (N, D), weight (E, D) -> y (N, E) = q weight^T weight_scale scale + bias
void multiply(int threads, const int8_t* q, const float* scale, const int8_t* weight, const float* weight_scale,
              const float* bias, float* y, int64_t N, int64_t D, int64_t E) {
    std::vector<uint8_t> shifted(N * D), ones(D, 1);
    for (int64_t i = 0; i < N * D; ++i) shifted[i] = static_cast<uint8_t>(q[i] + 128);
#pragma omp parallel for num_threads(threads) if (N * D * E > 262144)
    for (int64_t o = 0; o < E; ++o)
        for (int64_t n = 0; n < N; ++n) {
            const int32_t product = dot(shifted.data() + n * D, ones.data(), weight + o * D, D);
            y[n * E + o] = static_cast<float>(product) * weight_scale[o] * scale[n] + (bias ? bias[o] : 0.0f);
        }
}

// y (N, E) = y scale + bias, in place
void rescale(int threads, float* y, const float* scale, const float* bias, int64_t N, int64_t E) {
#pragma omp parallel for num_threads(threads) if (N * E > 32768)
    for (int64_t n = 0; n < N; ++n) {
        float* row = y + n * E;
        if (bias)
            for (int64_t o = 0; o < E; ++o) row[o] = row[o] * scale[n] + bias[o];
        else
            for (int64_t o = 0; o < E; ++o) row[o] *= scale[n];
    }
}
}
