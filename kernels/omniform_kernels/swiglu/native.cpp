// The gate and its gradients, each in one pass. N rows of C channels; rows of an input may lie apart.
#include "vector.h"

using omniform::exponential;

static const int64_t kAlone = 1 << 15;  // so few numbers are not worth waking threads for

extern "C" void forward(int threads, const float* gate, const float* up, float* out, int64_t N, int64_t C,
                        int64_t gate_stride, int64_t up_stride) {
#pragma omp parallel for num_threads(threads) if (N * C > kAlone)
    for (int64_t n = 0; n < N; ++n) {
        const float* g = gate + n * gate_stride;
        const float* u = up + n * up_stride;
        float* y = out + n * C;
#pragma omp simd
        for (int64_t c = 0; c < C; ++c) y[c] = g[c] / (1.0f + exponential(-g[c])) * u[c];
    }
}

extern "C" void backward(int threads, const float* dout, const float* gate, const float* up, float* dgate, float* dup,
                         int64_t N, int64_t C, int64_t gate_stride, int64_t up_stride) {
#pragma omp parallel for num_threads(threads) if (N * C > kAlone)
    for (int64_t n = 0; n < N; ++n) {
        const float* d = dout + n * C;
        const float* g = gate + n * gate_stride;
        const float* u = up + n * up_stride;
        float* dg = dgate + n * C;
        float* du = dup + n * C;
#pragma omp simd
        for (int64_t c = 0; c < C; ++c) {
            const float sigmoid = 1.0f / (1.0f + exponential(-g[c]));
            const float swish = g[c] * sigmoid;
            dg[c] = d[c] * u[c] * (sigmoid + swish * (1.0f - sigmoid));
            du[c] = d[c] * swish;
        }
    }
}
