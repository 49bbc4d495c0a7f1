// Gated linear attention as a recurrence whose state stays in the cache.
//
//   S sequences   H heads   Dk, Dv head sizes   G = 1 or Dk decays a head   V vectors of lanes in a row of a tile
//
// Outputs and all gradients are sweeps of one step over a tile of rows and lanes, which holds a part of the state, or of
// its gradient:
//
//     tile <- decay * tile        sum = read . tile        tile <- tile + key x value
//
//     sweep         rows  lanes  read  key  value  decay by  time
//     outputs       Dk    Dv     q     k    v      row       forward, decay of this token
//     of queries    Dv    Dk     do    v    k      lane      forward, decay of this token
//     of keys       Dv    Dk     v     do   q      lane      backward, decay of the next token
//     of values     Dk    Dv     k     q    do     row       backward, decay of the next token
//
// What a token gives itself, (read . key) value, is added afterwards. With the sums of the sweeps before that, a log
// decay's gradient is what stands on both sides of it: dg_t = sum_{s >= t} (q_s dq_s - k_s dk_s) + S_L . dS_L.
// Lanes are independent of each other: threads share sequences, heads and groups of lanes.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "vector.h"

namespace {

#if defined(__AVX512F__)
constexpr int64_t WIDTH = 16;
#elif defined(__AVX__)
constexpr int64_t WIDTH = 8;
#else
constexpr int64_t WIDTH = 4;
#endif
constexpr int64_t MOST = 4;         // vectors in a row of a tile: sums, values and decays fit the registers
constexpr double WORTHWHILE = 1e6;  // multiply-adds, from which on threads pay
typedef float Lanes __attribute__((vector_size(WIDTH * sizeof(float)), aligned(sizeof(float)), may_alias));

struct Problem {
    const float *q, *k, *v, *g;  // (T, H, .), sequences behind each other
    const int64_t* offsets;      // (S + 1,), or null: every sequence has L tokens
    int64_t L, T, S, H, Dk, Dv, G;

    int64_t start(int64_t s) const { return offsets ? std::clamp<int64_t>(offsets[s], 0, T) : s * L; }
    int64_t end(int64_t s) const { return offsets ? std::clamp<int64_t>(offsets[s + 1], 0, T) : (s + 1) * L; }
};

// A group of lanes of one head of one sequence.
struct Part {
    int64_t s, h, first, count;

    int64_t at(int64_t t, int64_t H, int64_t D) const { return (t * H + h) * D; }
    int64_t state(const Problem& p) const { return (s * p.H + h) * p.Dk * p.Dv; }
};

float dot(const float* x, const float* y, int64_t count) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; ++i) sum += x[i] * y[i];
    return sum;
}

// Write e^g of a token to `count` places: its decays from `first` on, or its only one everywhere.
void decays(const Problem& p, const Part& part, int64_t t, int64_t first, int64_t count, float* out) {
    const float* g = p.g + part.at(t, p.H, p.G);
    if (p.G == 1) {
        std::fill_n(out, count, omniform::exponential(g[0]));
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) out[i] = omniform::exponential(g[first + i]);
}

// A row of a tile; lanes beyond those that a part has are zero.
template <int V>
struct alignas(64) Row {
    float lanes[V * WIDTH] = {};

    Row() = default;
    Row(const float* from, int64_t count) {
        if (count == V * WIDTH) std::memcpy(lanes, from, sizeof(lanes));
        else std::memcpy(lanes, from, count * sizeof(float));
    }
    void store(float* to, int64_t count) const {
        if (count == V * WIDTH) std::memcpy(to, lanes, sizeof(lanes));
        else std::memcpy(to, lanes, count * sizeof(float));
    }
    Lanes vector(int v) const { return reinterpret_cast<const Lanes*>(lanes)[v]; }
};

// Step from one tile to the next, which may be the same; rows are `stride` floats apart.
template <int V, bool BY_LANE>
inline void step(
    int64_t rows, const float* decay, const float* read, const float* key, const Row<V>& value, const float* from,
    float* to, int64_t stride, Row<V>& sum
) {
    Lanes sums[V] = {}, fade[V], written[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
        written[v] = value.vector(v);
        if constexpr (BY_LANE) fade[v] = reinterpret_cast<const Lanes*>(decay)[v];
    }
    for (int64_t r = 0; r < rows; ++r, from += stride, to += stride) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
            Lanes held = reinterpret_cast<const Lanes*>(from)[v];
            if constexpr (BY_LANE) held *= fade[v];
            else held *= decay[r];
            sums[v] += read[r] * held;
            reinterpret_cast<Lanes*>(to)[v] = held + key[r] * written[v];
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) reinterpret_cast<Lanes*>(sum.lanes)[v] = sums[v];
}

// Step in place.
template <int V, bool BY_LANE>
inline void step(
    int64_t rows, const float* decay, const float* read, const float* key, const Row<V>& value,
    std::vector<Row<V>>& tile, Row<V>& sum
) {
    step<V, BY_LANE>(rows, decay, read, key, value, tile[0].lanes, tile[0].lanes, V * WIDTH, sum);
}

// Take lanes out of a state (Dk, Dv), with its rows as rows or as lanes.
template <int V>
std::vector<Row<V>> by_key(const Problem& p, const Part& part, const float* state) {
    std::vector<Row<V>> tile(p.Dk);
    for (int64_t d = 0; d < p.Dk; ++d) tile[d] = Row<V>(state + part.state(p) + d * p.Dv + part.first, part.count);
    return tile;
}

template <int V>
std::vector<Row<V>> by_value(const Problem& p, const Part& part, const float* state) {
    std::vector<Row<V>> tile(p.Dv);
    for (int64_t d = 0; d < part.count; ++d)
        for (int64_t c = 0; c < p.Dv; ++c) tile[c].lanes[d] = state[part.state(p) + (part.first + d) * p.Dv + c];
    return tile;
}

template <int V>
void outputs(const Problem& p, const Part& part, const float* state, float scale, float* out, float* final) {
    const int64_t start = p.start(part.s), end = p.end(part.s), corner = part.state(p) + part.first;
    const bool direct = end - start == 1 && part.count == V * WIDTH;  // to decode, copy no tile
    std::vector<Row<V>> tile;
    if (!direct) tile = by_key<V>(p, part, state);
    std::vector<float> decay(p.Dk);
    for (int64_t t = start; t < end; ++t) {
        const float *q = p.q + part.at(t, p.H, p.Dk), *k = p.k + part.at(t, p.H, p.Dk);
        const Row<V> v(p.v + part.at(t, p.H, p.Dv) + part.first, part.count);
        decays(p, part, t, 0, p.Dk, decay.data());
        Row<V> sum;
        if (direct) step<V, false>(p.Dk, decay.data(), q, k, v, state + corner, final + corner, p.Dv, sum);
        else step<V, false>(p.Dk, decay.data(), q, k, v, tile, sum);
        const float own = dot(q, k, p.Dk);
        for (int64_t c = 0; c < V * WIDTH; ++c) sum.lanes[c] = scale * (sum.lanes[c] + own * v.lanes[c]);
        sum.store(out + part.at(t, p.H, p.Dv) + part.first, part.count);
    }
    for (size_t d = 0; d < tile.size(); ++d) tile[d].store(final + corner + d * p.Dv, part.count);
}

// Gradients of queries, keys and decays; `dg` has a place for each channel even where these share a decay.
template <int V>
void key_gradients(
    const Problem& p, const Part& part, const float* state, const float* dout, const float* dfinal, float* dq,
    float* dk, float* dg
) {
    const int64_t start = p.start(part.s), end = p.end(part.s);
    std::vector<Row<V>> tile = by_value<V>(p, part, state), gradient = by_value<V>(p, part, dfinal);
    Row<V> decay, sum;
    for (int64_t t = start; t < end; ++t) {
        const int64_t keys = part.at(t, p.H, p.Dk) + part.first, values = part.at(t, p.H, p.Dv);
        decays(p, part, t, part.first, part.count, decay.lanes);
        const Row<V> k(p.k + keys, part.count);
        step<V, true>(p.Dv, decay.lanes, dout + values, p.v + values, k, tile, sum);
        sum.store(dq + keys, part.count);
    }
    double carried[V * WIDTH] = {};
    for (int64_t c = 0; c < p.Dv; ++c)
        for (int64_t d = 0; d < part.count; ++d) carried[d] += double(tile[c].lanes[d]) * gradient[c].lanes[d];
    std::fill_n(decay.lanes, part.count, 1.0f);
    for (int64_t t = end - 1; t >= start; --t) {
        const int64_t keys = part.at(t, p.H, p.Dk) + part.first, values = part.at(t, p.H, p.Dv);
        const Row<V> q(p.q + keys, part.count);
        step<V, true>(p.Dv, decay.lanes, p.v + values, dout + values, q, gradient, sum);
        const float own = dot(p.v + values, dout + values, p.Dv), *k = p.k + keys;
#pragma omp simd
        for (int64_t d = 0; d < part.count; ++d) {
            const float query_sum = dq[keys + d];
            carried[d] += q.lanes[d] * query_sum - k[d] * sum.lanes[d];
            dg[keys + d] = static_cast<float>(carried[d]);
            dk[keys + d] = sum.lanes[d] + own * q.lanes[d];
            dq[keys + d] = query_sum + own * k[d];
        }
        decays(p, part, t, part.first, part.count, decay.lanes);
    }
}

template <int V>
void value_gradients(
    const Problem& p, const Part& part, const float* dout, const float* dfinal, float* dv, float* dstate
) {
    std::vector<Row<V>> tile = by_key<V>(p, part, dfinal);
    std::vector<float> decay(p.Dk, 1.0f);
    for (int64_t t = p.end(part.s) - 1; t >= p.start(part.s); --t) {
        const float *q = p.q + part.at(t, p.H, p.Dk), *k = p.k + part.at(t, p.H, p.Dk);
        const int64_t values = part.at(t, p.H, p.Dv) + part.first;
        const Row<V> gradient(dout + values, part.count);
        Row<V> sum;
        step<V, false>(p.Dk, decay.data(), k, q, gradient, tile, sum);
        const float own = dot(q, k, p.Dk);
        for (int64_t c = 0; c < V * WIDTH; ++c) sum.lanes[c] += own * gradient.lanes[c];
        sum.store(dv + values, part.count);
        decays(p, part, t, 0, p.Dk, decay.data());
    }
    for (int64_t d = 0; d < p.Dk; ++d) {
        for (float& lane : tile[d].lanes) lane *= decay[d];
        tile[d].store(dstate + part.state(p) + d * p.Dv + part.first, part.count);
    }
}

// How D lanes are cut: vectors in a row of a tile, and groups of that many.
struct Cut {
    int64_t vectors, groups;

    Cut(int64_t D, int64_t wanted) {
        const int64_t whole = (D + WIDTH - 1) / WIDTH;
        const int64_t least = (whole + MOST - 1) / MOST;
        vectors = (whole + std::clamp(wanted, least, whole) - 1) / std::clamp(wanted, least, whole);
        groups = (whole + vectors - 1) / vectors;
    }
    Part part(const Problem& p, int64_t index, int64_t D) const {
        const int64_t first = index % groups * vectors * WIDTH, head = index / groups;
        return {head / p.H, head % p.H, first, std::min(vectors * WIDTH, D - first)};
    }
};

// Call work(V) with the number of vectors as a constant.
template <class Work>
void with_constant(int64_t vectors, const Work& work) {
    if (vectors == 1) work(std::integral_constant<int, 1>());
    else if (vectors == 2) work(std::integral_constant<int, 2>());
    else if (vectors == 3) work(std::integral_constant<int, 3>());
    else work(std::integral_constant<int, 4>());
}

int64_t share(int threads, const Problem& p) { return (threads + p.S * p.H - 1) / std::max<int64_t>(p.S * p.H, 1); }

bool worthwhile(const Problem& p) { return double(p.T) * p.H * p.Dk * p.Dv > WORTHWHILE; }

}  // namespace

extern "C" void forward(
    int threads, const float* q, const float* k, const float* v, const float* g, const float* state,
    const int64_t* offsets, float* out, float* final, int64_t L, int64_t T, int64_t S, int64_t H, int64_t Dk,
    int64_t Dv, int64_t G, float scale
) {
    const Problem p{q, k, v, g, offsets, L, T, S, H, Dk, Dv, G};
    const Cut cut(Dv, share(threads, p));
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1 && worthwhile(p))
    for (int64_t index = 0; index < S * H * cut.groups; ++index)
        with_constant(cut.vectors, [&](auto V) {
            outputs<V>(p, cut.part(p, index, Dv), state, scale, out, final);
        });
}

extern "C" void backward(
    int threads, const float* dout, const float* dfinal, const float* q, const float* k, const float* v,
    const float* g, const float* state, const int64_t* offsets, float* dq, float* dk, float* dv, float* dg,
    float* dstate, int64_t L, int64_t T, int64_t S, int64_t H, int64_t Dk, int64_t Dv, int64_t G
) {
    const Problem p{q, k, v, g, offsets, L, T, S, H, Dk, Dv, G};
    const Cut keys(Dk, share(threads, p)), values(Dv, share(threads, p));
    const int64_t of_keys = S * H * keys.groups, of_values = S * H * values.groups;
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1 && worthwhile(p))
    for (int64_t index = 0; index < of_keys + of_values; ++index) {
        if (index < of_keys)
            with_constant(keys.vectors, [&](auto V) {
                key_gradients<V>(p, keys.part(p, index, Dk), state, dout, dfinal, dq, dk, dg);
            });
        else
            with_constant(values.vectors, [&](auto V) {
                value_gradients<V>(p, values.part(p, index - of_keys, Dv), dout, dfinal, dv, dstate);
            });
    }
}
