// The delta rule in chunks of as many tokens as a vector has lanes; states stay in the first-level cache.
//
//     T tokens of all sequences   H heads   Dk, Dv head sizes   P, Q: Dk, Dv rounded up to whole vectors   C = 16 tokens
//
// With G the running sum of the log decays inside a chunk and S (P, Q) the state before it,
//     U_i = beta_i (v_i - e^G_i k_i S) - sum_{j < i} beta_i e^(G_i - G_j) (k_i . k_j) U_j
//     o_i = e^G_i q_i S + sum_{j <= i} e^(G_i - G_j) (q_i . k_j) U_j
//     S  <- e^G_C S + sum_j e^(G_C - G_j) k_j^T U_j.
// Tokens and channels that fill up are zeros, and change nothing.
#include <algorithm>
#include <cstdlib>
#include <new>

#include "vector.h"

namespace {

constexpr int64_t C = 16;
constexpr int64_t GROUP = 4;  // chunks between two states that are kept for the backward pass
constexpr int64_t TILE = 64;  // value channels that a thread takes at a time forward

typedef float Lanes __attribute__((vector_size(4 * C)));

inline Lanes load(const float* x) {
    Lanes lanes;
    std::memcpy(&lanes, x, sizeof lanes);
    return lanes;
}

inline void store(float* x, Lanes lanes) { std::memcpy(x, &lanes, sizeof lanes); }

inline int64_t padded(int64_t n) { return (n + C - 1) / C * C; }

struct Memory {  // a thread's scratch, cut into pieces; full of zeros at first
    explicit Memory(int64_t floats) : base(static_cast<float*>(std::aligned_alloc(64, 4 * padded(floats)))) {
        if (!base) throw std::bad_alloc();
        std::fill_n(base, padded(floats), 0.0f);
        next = base;
    }
    ~Memory() { std::free(base); }
    float* take(int64_t floats) {
        float* piece = next;
        next += padded(floats);
        return piece;
    }
    float *base, *next;
};

// Y[M, 16 V] = factor Y + A[M, K] B[K, 16 V], where A[m, k] stands at a[m * row + k * column].
template <int M, int V>
inline void tile(float* y, int64_t ldy, const float* a, int64_t row, int64_t column, const float* b, int64_t ldb,
                 int64_t K, float factor) {
    Lanes sums[M][V];
    for (int m = 0; m < M; ++m)
        for (int v = 0; v < V; ++v) sums[m][v] = factor == 0 ? Lanes{} : factor * load(y + m * ldy + v * C);
    for (int64_t k = 0; k < K; ++k) {
        Lanes rows[V];
        for (int v = 0; v < V; ++v) rows[v] = load(b + k * ldb + v * C);
        for (int m = 0; m < M; ++m)
            for (int v = 0; v < V; ++v) sums[m][v] += a[m * row + k * column] * rows[v];
    }
    for (int m = 0; m < M; ++m)
        for (int v = 0; v < V; ++v) store(y + m * ldy + v * C, sums[m][v]);
}

// The same for M and N that are multiples of 16, in tiles that fit the registers.
void multiply(float* y, int64_t ldy, const float* a, int64_t row, int64_t column, const float* b, int64_t ldb,
              int64_t M, int64_t N, int64_t K, float factor = 0) {
    int64_t n = 0;
    for (; n + 4 * C <= N; n += 4 * C)
        for (int64_t m = 0; m < M; m += 4) tile<4, 4>(y + m * ldy + n, ldy, a + m * row, row, column, b + n, ldb, K, factor);
    for (; n + 2 * C <= N; n += 2 * C)
        for (int64_t m = 0; m < M; m += 8) tile<8, 2>(y + m * ldy + n, ldy, a + m * row, row, column, b + n, ldb, K, factor);
    for (; n < N; n += C)
        for (int64_t m = 0; m < M; m += 16) tile<16, 1>(y + m * ldy + n, ldy, a + m * row, row, column, b + n, ldb, K, factor);
}

// y[N, M] = x[M, N] transposed.
void transpose(float* y, int64_t ldy, const float* x, int64_t ldx, int64_t M, int64_t N) {
    for (int64_t m = 0; m < M; ++m)
        for (int64_t n = 0; n < N; ++n) y[n * ldy + m] = x[m * ldx + n];
}

// y += weight x, over N channels.
inline void add(float* y, float weight, const float* x, int64_t N) {
    for (int64_t n = 0; n < N; n += C) store(y + n, load(y + n) + weight * load(x + n));
}

inline float dot(const float* x, const float* y, int64_t N) {
    Lanes sums{};
    for (int64_t n = 0; n < N; n += C) sums += load(x + n) * load(y + n);
    float sum = 0;
    for (int64_t c = 0; c < C; ++c) sum += sums[c];
    return sum;
}

struct Shape {
    int64_t H, Dk, Dv, P, Q;
};

struct Inputs {
    const float *q, *k, *v, *beta, *log_decay;
    float scale;
};

// What a chunk of one head holds, apart from its state. The rows of K and Q (and of what they read) lie behind each
// other, so that one product serves both.
struct Chunk {
    Chunk(Memory& memory, int64_t P, int64_t Q)
        : KQ(memory.take(2 * C * P)), V(memory.take(C * Q)), U(memory.take(C * Q)), X(memory.take(2 * C * Q)),
          scores(memory.take(2 * C * C)), decay(memory.take(C * C)), beta(memory.take(C)), rise(memory.take(C)),
          fall(memory.take(C)) {}
    static int64_t floats(int64_t P, int64_t Q) { return 2 * C * P + 4 * C * Q + 3 * C * C + 3 * C; }

    float *KQ;       // (2 C, P)
    float *V, *U;    // (C, Q)
    float *X;        // (2 C, Q), k S and q S
    float *scores;   // (2 C, C), k_i . k_j and q_i . k_j, times e^(G_i - G_j); 0 for j > i
    float *decay;    // (C, C), e^(G_i - G_j); 0 for j > i
    float *beta, *rise, *fall;  // (C), e^G_i and e^(G_C - G_i)
    int64_t count;   // tokens that are none of the zeros
};

void gather(float* y, int64_t ldy, const float* x, int64_t stride, int64_t count, int64_t size, float factor) {
    for (int64_t i = 0; i < C; ++i)
        for (int64_t d = 0; d < size; ++d) y[i * ldy + d] = i < count ? factor * x[i * stride + d] : 0.0f;
}

void scatter(float* y, int64_t stride, const float* x, int64_t ldx, int64_t count, int64_t size, float factor) {
    for (int64_t i = 0; i < count; ++i)
        for (int64_t d = 0; d < size; ++d) y[i * stride + d] = factor * x[i * ldx + d];
}

// Read `count` tokens from token t on, value channels from `first` on, and compare the tokens with each other.
void read(Chunk& chunk, const Inputs& in, const Shape& s, int64_t t, int64_t count, int64_t h, int64_t first,
          int64_t width, int64_t Q, float* transposed) {
    const int64_t place = t * s.H + h;
    chunk.count = count;
    gather(chunk.KQ, s.P, in.k + place * s.Dk, s.H * s.Dk, count, s.Dk, 1.0f);
    gather(chunk.KQ + C * s.P, s.P, in.q + place * s.Dk, s.H * s.Dk, count, s.Dk, in.scale);
    gather(chunk.V, Q, in.v + place * s.Dv + first, s.H * s.Dv, count, width, 1.0f);
    float G[C], sum = 0;
    for (int64_t i = 0; i < C; ++i) {
        chunk.beta[i] = i < count ? in.beta[place + i * s.H] : 0.0f;
        G[i] = sum += i < count ? in.log_decay[place + i * s.H] : 0.0f;
    }
    for (int64_t i = 0; i < C; ++i) {
        chunk.rise[i] = omniform::exponential(G[i]);
        chunk.fall[i] = omniform::exponential(sum - G[i]);
        for (int64_t j = 0; j < C; ++j) chunk.decay[i * C + j] = omniform::exponential(j > i ? 0.0f : G[i] - G[j]);
        for (int64_t j = i + 1; j < C; ++j) chunk.decay[i * C + j] = 0.0f;
    }
    transpose(transposed, C, chunk.KQ, s.P, C, s.P);
    multiply(chunk.scores, C, chunk.KQ, s.P, 1, transposed, C, 2 * C, C, s.P);
    for (int64_t n = 0; n < C * C; ++n) {
        chunk.scores[n] *= chunk.decay[n];
        chunk.scores[C * C + n] *= chunk.decay[n];
    }
}

// Find U (C, Q) by substitution; X holds k S.
template <int V>
void substitute(const Chunk& chunk, int64_t first, int64_t Q) {
    for (int64_t i = 0; i < C; ++i) {
        const float beta = chunk.beta[i];
        Lanes sums[V];
        for (int v = 0; v < V; ++v) {
            const int64_t n = i * Q + first + v * C;
            sums[v] = load(chunk.V + n) - chunk.rise[i] * load(chunk.X + n);
        }
        for (int64_t j = 0; j < i; ++j)
            for (int v = 0; v < V; ++v) sums[v] -= chunk.scores[i * C + j] * load(chunk.U + j * Q + first + v * C);
        for (int v = 0; v < V; ++v) store(chunk.U + i * Q + first + v * C, beta * sums[v]);
    }
}

void correct(const Chunk& chunk, int64_t Q) {
    int64_t first = 0;
    for (; first + 4 * C <= Q; first += 4 * C) substitute<4>(chunk, first, Q);
    for (; first < Q; first += C) substitute<1>(chunk, first, Q);
}

// S <- e^G_C S + sum_j e^(G_C - G_j) k_j^T U_j; `keys` (C, P) is scratch.
void write(const Chunk& chunk, float* after, const float* before, int64_t P, int64_t Q, float* keys) {
    for (int64_t i = 0; i < C; ++i)
        for (int64_t d = 0; d < P; ++d) keys[i * P + d] = chunk.fall[i] * chunk.KQ[i * P + d];
    if (after != before) std::memcpy(after, before, 4 * P * Q);
    multiply(after, Q, keys, 1, P, chunk.U, Q, P, Q, C, chunk.rise[C - 1]);
}

void copy_state(float* y, int64_t ldy, const float* x, int64_t ldx, int64_t Dk, int64_t width) {
    for (int64_t d = 0; d < Dk; ++d) std::memcpy(y + d * ldy, x + d * ldx, 4 * width);
}

// One sequence, head and tile of value channels.
void run_forward(Memory& memory, const Inputs& in, const Shape& s, float* out, const float* initial, float* final,
                 float* kept, int64_t begin, int64_t end, int64_t h, int64_t first) {
    const int64_t width = std::min(TILE, s.Dv - first), Q = padded(width);
    float *S = memory.take(s.P * Q), *keys = memory.take(C * s.P), *transposed = memory.take(C * s.P);
    Chunk chunk(memory, s.P, Q);
    copy_state(S, Q, initial + first, s.Dv, s.Dk, width);
    for (int64_t t = begin; t < end; t += C) {
        if (kept && (t - begin) % (GROUP * C) == 0)
            copy_state(kept + (t - begin) / (GROUP * C) * s.H * s.Dk * s.Dv + first, s.Dv, S, Q, s.Dk, width);
        read(chunk, in, s, t, std::min(C, end - t), h, first, width, Q, transposed);
        multiply(chunk.X, Q, chunk.KQ, s.P, 1, S, Q, 2 * C, Q, s.P);
        correct(chunk, Q);
        float* reads = chunk.X + C * Q;
        for (int64_t i = 0; i < C; ++i)
            for (int64_t n = 0; n < Q; ++n) reads[i * Q + n] *= chunk.rise[i];
        multiply(reads, Q, chunk.scores + C * C, C, 1, chunk.U, Q, C, Q, C, 1.0f);
        scatter(out + (t * s.H + h) * s.Dv + first, s.H * s.Dv, reads, Q, chunk.count, width, 1.0f);
        write(chunk, S, S, s.P, Q, keys);
    }
    copy_state(final + first, s.Dv, S, Q, s.Dk, width);
}

struct Gradients {
    float *q, *k, *v, *beta, *log_decay;
};

// Scratch of a chunk's backward pass.
struct Backward {
    Backward(Memory& memory, int64_t P, int64_t Q)
        : dwrites(memory.take(2 * C * Q)), across(memory.take(2 * C * Q)), U(memory.take(C * Q)),
          pairs(memory.take(2 * C * C)), keys(memory.take(2 * C * P)), read(memory.take(3 * C * P)),
          turned(memory.take(3 * C * P)), grads(memory.take(3 * C * P)) {}
    static int64_t floats(int64_t P, int64_t Q) { return 5 * C * Q + 2 * C * C + 11 * C * P; }

    float *dwrites;  // (2 C, Q), gradients of beta_i (v_i - e^G_i k_i S), and of o_i behind them
    float *across;   // (Q, 2 C), the same transposed
    float *U;        // (Q, C), transposed
    float *pairs;    // (2 C, C), gradients of k_i . k_j and q_i . k_j
    float *keys;     // (2 C, P)
    float *read;     // (P, 3 C), dwrites S^T, do S^T and U dS^T, transposed
    float *turned;   // (3 C, P), the same
    float *grads;    // (3 C, P), of q, of k where it reads, of k where it is written
};

// Turn dS (P, Q), the gradient of the state after a chunk, into that of the state S before it.
void backward_chunk(const Chunk& chunk, Backward& b, const Inputs& in, const Shape& s, const float* dout, float* dS,
                    const float* S, const Gradients& out, int64_t t, int64_t h) {
    const int64_t P = s.P, Q = s.Q, place = t * s.H + h;
    const float *K = chunk.KQ, *queries = chunk.KQ + C * P, total = chunk.rise[C - 1];
    float *dR = b.dwrites, *dO = b.dwrites + C * Q;
    gather(dO, Q, dout + place * s.Dv, s.H * s.Dv, chunk.count, s.Dv, 1.0f);
    multiply(dR, Q, K, P, 1, dS, Q, C, Q, P);
    for (int64_t i = C - 1; i >= 0; --i) {
        float* row = dR + i * Q;
        for (int64_t n = 0; n < Q; ++n) row[n] *= chunk.fall[i];
        for (int64_t j = i; j < C; ++j) add(row, chunk.scores[(C + j) * C + i], dO + j * Q, Q);
        for (int64_t j = i + 1; j < C; ++j) add(row, -chunk.beta[j] * chunk.scores[j * C + i], dR + j * Q, Q);
    }
    transpose(b.across, 2 * C, b.dwrites, Q, 2 * C, Q);
    transpose(b.U, C, chunk.U, Q, C, Q);
    multiply(b.pairs, C, b.dwrites, Q, 1, b.U, C, 2 * C, C, Q);

    float dbeta[C], dG[C];
    for (int64_t i = 0; i < C; ++i) {
        dbeta[i] = dot(dR + i * Q, chunk.V + i * Q, Q) - chunk.rise[i] * dot(dR + i * Q, chunk.X + i * Q, Q);
        for (int64_t j = 0; j < C; ++j) {
            float &dkeys = b.pairs[i * C + j], &dscores = b.pairs[(C + i) * C + j];
            dbeta[i] -= j < i ? dkeys * chunk.scores[i * C + j] : 0.0f;
            dkeys = j < i ? -chunk.beta[i] * dkeys * chunk.decay[i * C + j] : 0.0f;
            dscores *= chunk.decay[i * C + j];
        }
    }
    multiply(b.read, 3 * C, S, Q, 1, b.across, 2 * C, P, 2 * C, Q);
    multiply(b.read + 2 * C, 3 * C, dS, Q, 1, b.U, C, P, C, Q);
    transpose(b.turned, P, b.read, 3 * C, P, 3 * C);

    float *dq = b.grads, *reading = b.grads + C * P, *written = b.grads + 2 * C * P;
    float last = total * dot(S, dS, P * Q);
    for (int64_t i = 0; i < C; ++i) {
        const float *by_R = b.turned + i * P, *by_O = by_R + C * P, *by_U = by_O + C * P;
        const float slope = chunk.beta[i] * chunk.rise[i];
        for (int64_t d = 0; d < P; ++d) {
            reading[i * P + d] = -slope * by_R[d];
            dq[i * P + d] = chunk.rise[i] * by_O[d];
            written[i * P + d] = chunk.fall[i] * by_U[d];
            b.keys[i * P + d] = -slope * K[i * P + d];
            b.keys[(C + i) * P + d] = chunk.rise[i] * queries[i * P + d];
        }
        last += dot(K + i * P, written + i * P, P);
    }
    multiply(dS, Q, b.keys, 1, P, b.dwrites, Q, P, Q, 2 * C, total);
    multiply(dq, P, b.pairs + C * C, C, 1, K, P, C, P, C, 1.0f);
    multiply(reading, P, b.pairs, C, 1, K, P, C, P, C, 1.0f);
    multiply(written, P, b.pairs, 1, C, chunk.KQ, P, C, P, 2 * C, 1.0f);

    for (int64_t i = 0; i < C; ++i) {
        const float *key = K + i * P, *query = queries + i * P;
        dG[i] = dot(query, dq + i * P, P) + dot(key, reading + i * P, P) - dot(key, written + i * P, P);
        add(written + i * P, 1.0f, reading + i * P, P);
    }
    dG[C - 1] += last;
    for (int64_t i = C - 2; i >= 0; --i) dG[i] += dG[i + 1];
    for (int64_t i = 0; i < chunk.count; ++i) {
        out.beta[place + i * s.H] = dbeta[i];
        out.log_decay[place + i * s.H] = dG[i];
        scatter(out.v + (place + i * s.H) * s.Dv, 0, dR + i * Q, Q, 1, s.Dv, chunk.beta[i]);
    }
    scatter(out.q + place * s.Dk, s.H * s.Dk, dq, P, chunk.count, s.Dk, in.scale);
    scatter(out.k + place * s.Dk, s.H * s.Dk, written, P, chunk.count, s.Dk, 1.0f);
}

// One sequence and head: groups of chunks from the last to the first, each recomputed from the state kept before it.
void run_backward(Memory& memory, const Inputs& in, const Shape& s, const float* dout, const float* dfinal,
                  const float* kept, const Gradients& out, float* dinitial, int64_t begin, int64_t end, int64_t h) {
    const int64_t P = s.P, Q = s.Q;
    float *dS = memory.take(P * Q), *states = memory.take(GROUP * P * Q);
    float *keys = memory.take(C * P), *transposed = memory.take(C * P);
    Backward scratch(memory, P, Q);
    Chunk chunks[GROUP] = {{memory, P, Q}, {memory, P, Q}, {memory, P, Q}, {memory, P, Q}};
    copy_state(dS, Q, dfinal, s.Dv, s.Dk, s.Dv);
    for (int64_t group = (end - begin - 1) / (GROUP * C); group >= 0 && begin < end; --group) {
        const int64_t from = begin + group * GROUP * C;
        const int64_t count = std::min(GROUP, (end - from + C - 1) / C);
        copy_state(states, Q, kept + group * s.H * s.Dk * s.Dv, s.Dv, s.Dk, s.Dv);
        for (int64_t c = 0; c < count; ++c) {
            const int64_t t = from + c * C;
            float* S = states + c * P * Q;
            read(chunks[c], in, s, t, std::min(C, end - t), h, 0, s.Dv, Q, transposed);
            multiply(chunks[c].X, Q, chunks[c].KQ, P, 1, S, Q, C, Q, P);
            correct(chunks[c], Q);
            if (c + 1 < count) write(chunks[c], S + P * Q, S, P, Q, keys);
        }
        for (int64_t c = count - 1; c >= 0; --c)
            backward_chunk(chunks[c], scratch, in, s, dout, dS, states + c * P * Q, out, from + c * C, h);
    }
    copy_state(dinitial, s.Dv, dS, Q, s.Dk, s.Dv);
}

struct Token {
    const float *q, *k, *v;
    float decay, beta, scale;
    int64_t Dk, Dv;
};

// Value channels from `first` on of one token and head, W of them where so many are left.
template <int W>
void advance(const Token& token, const float* before, float* after, float* out, int64_t first, int64_t width) {
    float u[W] = {}, o[W] = {}, row[W] = {};
    for (int64_t d = 0; d < token.Dk; ++d) {
        const float key = token.decay * token.k[d], *S = before + d * token.Dv + first;
        if (width == W) {
#pragma omp simd
            for (int n = 0; n < W; ++n) u[n] += key * S[n];
        } else {
            for (int64_t n = 0; n < width; ++n) u[n] += key * S[n];
        }
    }
    for (int64_t n = 0; n < width; ++n) u[n] = token.beta * (token.v[first + n] - u[n]);
    for (int64_t d = 0; d < token.Dk; ++d) {
        const float key = token.k[d], query = token.scale * token.q[d], *S = before + d * token.Dv + first;
        float* next = after + d * token.Dv + first;
        std::memcpy(row, S, 4 * (width == W ? W : width));
#pragma omp simd
        for (int n = 0; n < W; ++n) {
            row[n] = token.decay * row[n] + key * u[n];
            o[n] += query * row[n];
        }
        std::memcpy(next, row, 4 * (width == W ? W : width));
    }
    std::copy_n(o, width, out + first);
}

// The place of a sequence's first kept state: no two sequences overlap, and L / 64 + sequences places are enough.
inline int64_t first_kept(const int64_t* offsets, int64_t sequence) {
    return offsets[sequence] / (GROUP * C) + sequence;
}

}  // namespace

// Tensors: q, k (T, H, Dk); v, out (T, H, Dv); beta, log_decay (T, H); initial, final (sequences, H, Dk, Dv);
// offsets (sequences + 1); kept (T / 64 + sequences, H, Dk, Dv) or null.
extern "C" void delta_rule_forward(int threads, const float* q, const float* k, const float* v, const float* beta,
                                   const float* log_decay, const float* initial, const int64_t* offsets, float* out,
                                   float* final, float* kept, int64_t sequences, int64_t H, int64_t Dk, int64_t Dv,
                                   float scale) {
    const Inputs in{q, k, v, beta, log_decay, scale};
    const Shape s{H, Dk, Dv, padded(Dk), padded(Dv)};
    const int64_t tiles = (Dv + TILE - 1) / TILE, size = Dk * Dv, Q = std::min(TILE, s.Q);
    const int64_t floats = s.P * Q + 2 * C * s.P + Chunk::floats(s.P, Q);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t item = 0; item < sequences * H * tiles; ++item) {
        const int64_t first = item % tiles * TILE, h = item / tiles % H, sequence = item / tiles / H;
        const int64_t head = (sequence * H + h) * size;
        Memory memory(floats);
        run_forward(memory, in, s, out, initial + head, final + head,
                    kept ? kept + (first_kept(offsets, sequence) * H + h) * size : nullptr, offsets[sequence],
                    offsets[sequence + 1], h, first);
    }
}

extern "C" void delta_rule_backward(int threads, const float* q, const float* k, const float* v, const float* beta,
                                    const float* log_decay, const int64_t* offsets, const float* kept,
                                    const float* dout, const float* dfinal, float* dq, float* dk, float* dv,
                                    float* dbeta, float* dlog_decay, float* dinitial, int64_t sequences, int64_t H,
                                    int64_t Dk, int64_t Dv, float scale) {
    const Inputs in{q, k, v, beta, log_decay, scale};
    const Gradients grads{dq, dk, dv, dbeta, dlog_decay};
    const Shape s{H, Dk, Dv, padded(Dk), padded(Dv)};
    const int64_t size = Dk * Dv, state = s.P * s.Q;
    const int64_t floats =
        (1 + GROUP) * state + 2 * C * s.P + Backward::floats(s.P, s.Q) + GROUP * Chunk::floats(s.P, s.Q);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t item = 0; item < sequences * H; ++item) {
        const int64_t h = item % H, sequence = item / H;
        Memory memory(floats);
        run_backward(memory, in, s, dout, dfinal + item * size,
                     kept + (first_kept(offsets, sequence) * H + h) * size, grads, dinitial + item * size,
                     offsets[sequence], offsets[sequence + 1], h);
    }
}

// One token each: q, k (heads, Dk); v, out (heads, Dv); beta, log_decay (heads); before, after (heads, Dk, Dv).
extern "C" void delta_rule_step(int threads, const float* q, const float* k, const float* v, const float* beta,
                                const float* log_decay, const float* before, float* out, float* after, int64_t heads,
                                int64_t Dk, int64_t Dv, float scale) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && heads * Dk * Dv > 1 << 18)
    for (int64_t h = 0; h < heads; ++h) {
        const Token token{q + h * Dk,           k + h * Dk,   v + h * Dv, omniform::exponential(log_decay[h]),
                          beta[h],              scale,        Dk,         Dv};
        int64_t first = 0;
        const float* S = before + h * Dk * Dv;
        float *next = after + h * Dk * Dv, *y = out + h * Dv;
        for (; first + 4 * C <= Dv; first += 4 * C) advance<4 * C>(token, S, next, y, first, 4 * C);
        for (; first < Dv; first += C) advance<C>(token, S, next, y, first, std::min(C, Dv - first));
    }
}
