// The depthwise causal convolution in one pass over the sequence, channels side by side in vector instructions.
//
//   S sequences   C channels, in blocks   K taps   row u of a sequence: of its state if u < K - 1, then of its inputs
//
//   z_t = b + sum_j w_j x_{t+j},   y_t = z_t or SiLU(z_t),   dx_u = sum_j w_j dz_{u-j},   dw_j = sum_t dz_t x_{t+j}
//
// Backward keeps the last K rows of dz. Threads share blocks of channels, and forward the sequences too.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "vector.h"

namespace {

constexpr int64_t WIDEST = 512;           // channels of a block: all its rows stay in the first cache
constexpr int64_t WORTHWHILE = 1 << 16;   // multiply-adds, from which on threads pay

struct Problem {
    const float *x, *weight, *bias, *state;  // (T, C), (K, C), (C,) or null, (S, K - 1, C) or null
    const int64_t* offsets;                  // (S + 1,), or null: every sequence has L tokens
    int64_t S, L, T, C, K;
    bool silu;

    int64_t start(int64_t s) const { return offsets ? std::clamp<int64_t>(offsets[s], 0, T) : s * L; }
    int64_t length(int64_t s) const { return std::max<int64_t>(start(s + 1) - start(s), 0); }
    int64_t width(int threads) const { return std::clamp<int64_t>((C / threads + 15) / 16 * 16, 16, WIDEST); }
};

// Add weight * row to sum.
inline void add(float* __restrict sum, const float* __restrict weight, const float* __restrict row, int64_t width) {
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) sum[c] += weight[c] * row[c];
}

// The channels [first, first + width) of one sequence.
struct Block {
    const Problem& p;
    int64_t s, first, width;

    // The u-th row of state and inputs; null where there are zeros.
    const float* row(int64_t u) const {
        const int64_t carried = p.K - 1;
        if (u >= carried) return p.x + (p.start(s) + u - carried) * p.C + first;
        return p.state ? p.state + (s * carried + u) * p.C + first : nullptr;
    }

    void convolve(int64_t t, float* z) const {
        if (p.bias)
            std::copy_n(p.bias + first, width, z);
        else
            std::fill_n(z, width, 0.0f);
        for (int64_t j = 0; j < p.K; ++j)
            if (const float* input = row(t + j)) add(z, p.weight + j * p.C + first, input, width);
    }
};

void forward_block(const Block& block, float* y) {
    const Problem& p = block.p;
    for (int64_t t = 0; t < p.length(block.s); ++t) {
        float* __restrict out = y + (p.start(block.s) + t) * p.C + block.first;
        block.convolve(t, out);
        if (!p.silu) continue;
#pragma omp simd
        for (int64_t c = 0; c < block.width; ++c) out[c] /= 1.0f + omniform::exponential(-out[c]);
    }
}

struct Gradients {
    float *x, *weight, *bias, *state;  // as in the problem; weight and bias hold zeros, bias and state may be null
};

void backward_block(const Block& block, const float* dy, const Gradients& out) {
    const Problem& p = block.p;
    const int64_t width = block.width, length = p.length(block.s), carried = p.K - 1;
    std::vector<float> recent(p.K * width), z(width);
    for (int64_t u = 0; u < length + carried; ++u) {
        float* __restrict dz = recent.data() + u % p.K * width;
        if (u < length) {
            std::copy_n(dy + (p.start(block.s) + u) * p.C + block.first, width, dz);
            if (p.silu) {
                block.convolve(u, z.data());
#pragma omp simd
                for (int64_t c = 0; c < width; ++c) {
                    const float gate = 1.0f / (1.0f + omniform::exponential(-z[c]));
                    dz[c] *= gate * (1.0f + z[c] * (1.0f - gate));
                }
            }
            if (out.bias)
                for (int64_t c = 0; c < width; ++c) out.bias[block.first + c] += dz[c];
            for (int64_t j = 0; j < p.K; ++j)
                if (const float* input = block.row(u + j)) add(out.weight + j * p.C + block.first, dz, input, width);
        }
        float* __restrict dx = u >= carried ? out.x + (p.start(block.s) + u - carried) * p.C + block.first
                               : out.state  ? out.state + (block.s * carried + u) * p.C + block.first
                                            : nullptr;
        if (!dx) continue;
        std::fill_n(dx, width, 0.0f);
        for (int64_t j = std::max<int64_t>(u - length + 1, 0); j < std::min(p.K, u + 1); ++j)
            add(dx, p.weight + j * p.C + block.first, recent.data() + (u - j) % p.K * width, width);
    }
}

}  // namespace

extern "C" void forward(int threads, const float* x, const float* weight, const float* bias, const float* state,
                        const int64_t* offsets, float* y, int64_t S, int64_t L, int64_t T, int64_t C, int64_t K,
                        int64_t silu) {
    const Problem p{x, weight, bias, state, offsets, S, L, T, C, K, silu != 0};
    const int64_t width = p.width(threads);
#pragma omp parallel for collapse(2) num_threads(threads) if (T * C * K > WORTHWHILE)
    for (int64_t s = 0; s < S; ++s)
        for (int64_t first = 0; first < C; first += width)
            forward_block({p, s, first, std::min(width, C - first)}, y);
}

extern "C" void backward(int threads, const float* dy, const float* x, const float* weight, const float* bias,
                         const float* state, const int64_t* offsets, float* dx, float* dweight, float* dbias,
                         float* dstate, int64_t S, int64_t L, int64_t T, int64_t C, int64_t K, int64_t silu) {
    const Problem p{x, weight, bias, state, offsets, S, L, T, C, K, silu != 0};
    const int64_t width = p.width(threads);
#pragma omp parallel for num_threads(threads) if (T * C * K > WORTHWHILE)
    for (int64_t first = 0; first < C; first += width)
        for (int64_t s = 0; s < S; ++s)
            backward_block({p, s, first, std::min(width, C - first)}, dy, {dx, dweight, dbias, dstate});
}
