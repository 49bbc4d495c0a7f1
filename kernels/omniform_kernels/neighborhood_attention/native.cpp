// Neighborhood attention query by query: a window is a few rows of keys, `dilation` apart along the last axis.
//
//   B batch   n0, n1, n2 grid (leading 1s below rank 3), T tokens   H heads   D, E head sizes of keys and of values
//
// One head at a time, copied together, stays in the cache. Threads share samples and heads; backward they add no
// gradients to the same place but those of the bias, of which each sample has its own table.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "vector.h"

namespace {

// What a token sees along one axis: the first of `count` tokens, `dilation` apart, and the row of its bias.
struct Span {
    int64_t first, count, bias;
};

struct Axis {
    int64_t n, size, dilation, stride, causal;
    std::vector<Span> spans;  // of each token

    explicit Axis(const int64_t* x) : n(x[0]), size(x[1]), dilation(x[2]), stride(x[3]), causal(x[4]) {
        for (int64_t i = 0; i < n; ++i) spans.push_back(span(i));
    }

    Span span(int64_t i) const {
        const int64_t residue = i % dilation, place = i / dilation, group = place / stride * stride;
        const int64_t members = (n - residue + dilation - 1) / dilation;
        const int64_t leader = std::min(group + (causal ? stride - 1 : stride / 2), members - 1);
        int64_t start = causal ? leader - size + 1 : std::min(leader - size / 2, members - size);
        start = std::max<int64_t>(start, 0);
        const int64_t end = causal ? place + 1 : std::min(start + size, members);
        return {residue + dilation * start, end - start, start - place + size - 1};
    }
};

struct Problem {
    Axis axes[3];
    int64_t H, D, E;
    float scale;
    const float *q, *k, *v, *bias;  // (B, T, H, D), the same, (B, T, H, E), (H, 2 size - 1 per axis) or null
    const uint8_t* mask;            // (B, T) or null

    int64_t tokens() const { return axes[0].n * axes[1].n * axes[2].n; }
    int64_t table() const { return (2 * axes[0].size - 1) * (2 * axes[1].size - 1) * (2 * axes[2].size - 1); }
    int64_t most() const { return axes[0].size * axes[1].size * axes[2].size; }
};

// What a token sees: rows of `count` keys, `step` apart, and where the biases of each row begin.
struct Window {
    struct Row {
        int64_t key, bias;
    };
    std::vector<Row> rows;
    int64_t count = 0, step = 1;

    void see(const Problem& p, int64_t token) {
        const auto& [x, y, z] = p.axes;
        const Span &i = x.spans[token / (y.n * z.n)], &j = y.spans[token / z.n % y.n], &k = z.spans[token % z.n];
        count = k.count;
        step = z.dilation;
        rows.clear();
        for (int64_t a = 0; a < i.count; ++a)
            for (int64_t b = 0; b < j.count; ++b) {
                const int64_t line = (i.first + a * x.dilation) * y.n + j.first + b * y.dilation;
                const int64_t plane = (i.bias + a) * (2 * y.size - 1) + j.bias + b;
                rows.push_back({line * z.n + k.first, plane * (2 * z.size - 1) + k.bias});
            }
    }

    // Call `visit` with the number, the token and the bias's place of each key.
    template <typename Visit>
    inline void walk(Visit visit) const {
        const int64_t count = this->count, step = this->step;
        int64_t number = 0;
        for (const Row row : rows)
            for (int64_t c = 0; c < count; ++c) visit(number++, row.key + c * step, row.bias + c);
    }
};

#if defined(__AVX512F__)
constexpr int64_t WIDTH = 16;
#elif defined(__AVX__)
constexpr int64_t WIDTH = 8;
#else
constexpr int64_t WIDTH = 4;
#endif
typedef float Lanes __attribute__((vector_size(WIDTH * sizeof(float)), aligned(sizeof(float)), may_alias));

inline const Lanes* lanes(const float* x) { return reinterpret_cast<const Lanes*>(x); }
inline Lanes* lanes(float* x) { return reinterpret_cast<Lanes*>(x); }

// SIZE, a multiple of WIDTH, is known to the compiler, or 0 and D counts.
template <int64_t SIZE>
inline float dot(const float* x, const float* y, int64_t D) {
    float sum = 0;
    if constexpr (SIZE > 0) {
        Lanes sums = lanes(x)[0] * lanes(y)[0];
        for (int64_t i = 1; i < SIZE / WIDTH; ++i) sums += lanes(x)[i] * lanes(y)[i];
        for (int64_t i = 0; i < WIDTH; ++i) sum += sums[i];
    } else {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < D; ++i) sum += x[i] * y[i];
    }
    return sum;
}

template <int64_t SIZE>
inline void add(float* __restrict sum, float factor, const float* __restrict x, int64_t D) {
    if constexpr (SIZE > 0) {
        for (int64_t i = 0; i < SIZE / WIDTH; ++i) lanes(sum)[i] += factor * lanes(x)[i];
    } else {
#pragma omp simd
        for (int64_t i = 0; i < D; ++i) sum[i] += factor * x[i];
    }
}

// The weighted sum of what a token sees of x (T, D); it stays in registers where SIZE is known.
template <int64_t SIZE>
inline void combine(const Window& window, const float* weights, const float* x, int64_t D, float* out) {
    if constexpr (SIZE > 0) {
        Lanes sums[SIZE / WIDTH] = {};
        window.walk([&sums, weights, x](int64_t c, int64_t key, int64_t) {
            for (int64_t i = 0; i < SIZE / WIDTH; ++i) sums[i] += weights[c] * lanes(x + key * SIZE)[i];
        });
        for (int64_t i = 0; i < SIZE / WIDTH; ++i) lanes(out)[i] = sums[i];
    } else {
        std::fill_n(out, D, 0.0f);
        window.walk([&](int64_t c, int64_t key, int64_t) { add<0>(out, weights[c], x + key * D, D); });
    }
}

// Copy one head of (T, H, D) to (T, D), or back.
void gather(const float* x, int64_t T, int64_t H, int64_t D, float* out) {
    for (int64_t t = 0; t < T; ++t) std::copy_n(x + t * H * D, D, out + t * D);
}
void scatter(const float* x, int64_t T, int64_t H, int64_t D, float* out) {
    for (int64_t t = 0; t < T; ++t) std::copy_n(x + t * D, D, out + t * H * D);
}

// One head of one sample.
template <int64_t SIZE>
struct Head {
    const Problem& p;
    int64_t b, h, T = p.tokens();
    std::vector<float> k = std::vector<float>(T * p.D), v = std::vector<float>(T * p.E);
    std::vector<float> logits = std::vector<float>(p.most());
    Window window;

    Head(const Problem& p, int64_t b, int64_t h) : p(p), b(b), h(h) {
        gather(p.k + at(0, p.D), T, p.H, p.D, k.data());
        gather(p.v + at(0, p.E), T, p.H, p.E, v.data());
    }

    int64_t at(int64_t t, int64_t size) const { return ((b * T + t) * p.H + h) * size; }

    // Fill in the logits of one query and return how many there are.
    int64_t look(int64_t t) {
        window.see(p, t);
        const int64_t D = p.D;
        const float *q = p.q + at(t, D), *keys = k.data(), scale = p.scale;
        float* out = logits.data();
        window.walk([=](int64_t c, int64_t key, int64_t) { out[c] = scale * dot<SIZE>(q, keys + key * D, D); });
        if (p.bias) {
            const float* table = p.bias + h * p.table();
            window.walk([&](int64_t c, int64_t, int64_t place) { out[c] += table[place]; });
        }
        if (p.mask)
            window.walk([&](int64_t c, int64_t key, int64_t) { out[c] = p.mask[b * T + key] ? out[c] : -INFINITY; });
        return static_cast<int64_t>(window.rows.size()) * window.count;
    }

    void forward(float* out, float* lse) {
        float* weights = logits.data();
        for (int64_t t = 0; t < T; ++t) {
            const int64_t count = look(t);
            float best = -INFINITY, total = 0;
#pragma omp simd reduction(max : best)
            for (int64_t c = 0; c < count; ++c) best = weights[c] > best ? weights[c] : best;
            const bool nobody = best == -INFINITY;
            const float shift = nobody ? 0.0f : best;
#pragma omp simd reduction(+ : total)
            for (int64_t c = 0; c < count; ++c) total += weights[c] = omniform::exponential(weights[c] - shift);
            const float norm = nobody ? 0.0f : 1.0f / total;
            for (int64_t c = 0; c < count; ++c) weights[c] *= norm;
            combine<SIZE>(window, weights, v.data(), p.E, out + at(t, p.E));
            lse[(b * p.H + h) * T + t] = nobody ? INFINITY : best + std::log(total);
        }
    }

    // Write the gradients of q, k and v, and add those of the bias to a table (H, ...), if there is one.
    void backward(const float* dout, const float* out, const float* lse, float* dq, float* dk, float* dv,
                  float* dbias) {
        std::vector<float> dkeys(T * p.D), dvalues(T * p.E);
        const int64_t D = p.D, E = p.E;
        const float scale = p.scale, *values = v.data();
        float *dk_head = dkeys.data(), *dv_head = dvalues.data(), *weights = logits.data();
        float* table = dbias ? dbias + h * p.table() : nullptr;
        for (int64_t t = 0; t < T; ++t) {
            const int64_t count = look(t);
            const float *q = p.q + at(t, D), *grad = dout + at(t, E), norm = lse[(b * p.H + h) * T + t];
            const float delta = dot<SIZE>(grad, out + at(t, E), E);
#pragma omp simd
            for (int64_t c = 0; c < count; ++c) weights[c] = omniform::exponential(weights[c] - norm);
            // Copies, not references: what is written might be anything to the compiler, so it would read them again.
            window.walk([=](int64_t c, int64_t key, int64_t place) {
                const float dlogit = weights[c] * (dot<SIZE>(grad, values + key * E, E) - delta);
                add<SIZE>(dv_head + key * E, weights[c], grad, E);
                add<SIZE>(dk_head + key * D, dlogit * scale, q, D);
                if (table) table[place] += dlogit;
                weights[c] = dlogit * scale;
            });
            combine<SIZE>(window, weights, k.data(), D, dq + at(t, D));
        }
        scatter(dkeys.data(), T, p.H, D, dk + at(0, D));
        scatter(dvalues.data(), T, p.H, E, dv + at(0, E));
    }
};

// Call `run` with a head of each sample, made for its size.
template <typename Run>
void each(int threads, const Problem& p, int64_t B, Run run) {
    const int64_t size = p.D == p.E ? p.D : 0;
#pragma omp parallel for collapse(2) num_threads(threads)
    for (int64_t b = 0; b < B; ++b)
        for (int64_t h = 0; h < p.H; ++h) {
            if (size == 16)
                run(Head<16>(p, b, h));
            else if (size == 32)
                run(Head<32>(p, b, h));
            else if (size == 64)
                run(Head<64>(p, b, h));
            else
                run(Head<0>(p, b, h));
        }
}

Problem problem(const int64_t* axes, const float* q, const float* k, const float* v, const float* bias,
                const uint8_t* mask, int64_t H, int64_t D, int64_t E, float scale) {
    return {{Axis(axes), Axis(axes + 5), Axis(axes + 10)}, H, D, E, scale, q, k, v, bias, mask};
}

}  // namespace

extern "C" void forward(int threads, const int64_t* axes, const float* q, const float* k, const float* v,
                        const float* bias, const uint8_t* mask, float* out, float* lse, int64_t B, int64_t H, int64_t D,
                        int64_t E, float scale) {
    const Problem p = problem(axes, q, k, v, bias, mask, H, D, E, scale);
    each(threads, p, B, [&](auto head) { head.forward(out, lse); });
}

extern "C" void backward(int threads, const int64_t* axes, const float* q, const float* k, const float* v,
                         const float* bias, const uint8_t* mask, const float* dout, const float* out, const float* lse,
                         float* dq, float* dk, float* dv, float* dbias, int64_t B, int64_t H, int64_t D, int64_t E,
                         float scale) {
    const Problem p = problem(axes, q, k, v, bias, mask, H, D, E, scale);
    each(threads, p, B, [&](auto head) {
        head.backward(dout, out, lse, dq, dk, dv, dbias ? dbias + head.b * H * p.table() : nullptr);
    });
}
