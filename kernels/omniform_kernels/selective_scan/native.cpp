// The selective scan in C++: channels lie side by side in vectors, and the states of a block of channels stay in cache.
//
//     T tokens of all sequences   S sequences   D channels   N states a channel
//
// Rows (T, .) may have any stride between tokens; sequence s is the tokens from first[s] to first[s + 1]. The states
// between chunks of steps are kept, as (N, D), and the backward pass computes those within a chunk again. Gradients
// that sum over channels are summed by slices of these, those that sum over sequences by groups of these, and over
// slices and groups by the caller: the same numbers at every run with as many threads.
#include <algorithm>
#include <vector>

#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("prefer-vector-width=512")  // a fifth faster here than the 256 that it prefers
#endif
#include "vector.h"

namespace {

constexpr int64_t kLanes = 32;  // channels of a block; native.py names both
constexpr int64_t kChunk = 32;  // steps of a chunk
constexpr int64_t kAhead = 4;  // steps between asking for a row and reading it
constexpr float kLog2e = 1.44269504f;

using Lanes = float[kLanes];

// 2^x to 2 units in the last place, down to 2^-126, which stands for all below: cheaper than omniform::exponential,
// whose care for large x and for subnormal results is of no use to a decay.
inline float power(float x) {
    x = x < -126.0f ? -126.0f : x;
    const float n = __builtin_rintf(x), r = x - n;
    float p = 1.32647270e-3f;  // 2^r on |r| <= 1/2
    p = p * r + 9.67151286e-3f;
    p = p * r + 5.55073375e-2f;
    p = p * r + 2.40222421e-1f;
    p = p * r + 6.93146978e-1f;
    p = p * r + 1.0f;
    int32_t bits;
    std::memcpy(&bits, &p, 4);
    bits += std::min(static_cast<int32_t>(n), 127) << 23;
    std::memcpy(&p, &bits, 4);
    return p;
}

inline float sigmoid(float x) { return 1.0f / (1.0f + omniform::exponential(-x)); }

struct Rows {
    const float* data;
    int64_t stride;
    const float* operator[](int64_t token) const { return data + token * stride; }
};

struct Problem {
    Rows x, dt, B, C, gate;  // gate.data is null without a gate
    const float *A, *D;      // (D, N); (D,) or null
    const int64_t* first;    // (S + 1,)
    int64_t sequences, channels, states;
    bool reverse;

    int64_t length(int64_t s) const { return first[s + 1] - first[s]; }
    int64_t token(int64_t s, int64_t step) const { return reverse ? first[s + 1] - 1 - step : first[s] + step; }
    int64_t slot(int64_t s) const { return first[s] / kChunk + s; }  // where the state before its first step is kept
    int64_t blocks() const { return (channels + kLanes - 1) / kLanes; }
};

// One block of channels; lanes beyond the last channel read 0 and are not written.
struct Block {
    int64_t begin, width, states;

    Block(const Problem& p, int64_t index)
        : begin(index * kLanes), width(std::min(kLanes, p.channels - begin)), states(p.states) {}

    void read(const float* row, float* lanes) const {
        if (width == kLanes) {
            std::memcpy(lanes, row + begin, sizeof(Lanes));
        } else {
            for (int64_t j = 0; j < kLanes; ++j) lanes[j] = j < width ? row[begin + j] : 0.0f;
        }
    }

    // Ask for a row, two cache lines, ahead of time: rows lie too far apart for the processor to foresee.
    void expect(const float* row) const {
        __builtin_prefetch(row + begin);
        __builtin_prefetch(row + begin + kLanes / 2);
    }

    void write(const float* lanes, float* row) const { std::memcpy(row + begin, lanes, width * sizeof(float)); }

    // (D, N) to (N, lanes).
    void read_matrix(const float* matrix, Lanes* lanes) const {
        for (int64_t n = 0; n < states; ++n)
            for (int64_t j = 0; j < kLanes; ++j) lanes[n][j] = j < width ? matrix[(begin + j) * states + n] : 0.0f;
    }

    void write_matrix(const Lanes* lanes, float* matrix) const {
        for (int64_t j = 0; j < width; ++j)
            for (int64_t n = 0; n < states; ++n) matrix[(begin + j) * states + n] = lanes[n][j];
    }

    // A / ln 2, so that decays are powers of 2.
    void read_rates(const float* A, Lanes* lanes) const {
        read_matrix(A, lanes);
        for (int64_t n = 0; n < states; ++n)
            for (int64_t j = 0; j < kLanes; ++j) lanes[n][j] *= kLog2e;
    }
};

class Scratch {
   public:
    Lanes* rows(int64_t count) {
        parts_.emplace_back(count * kLanes);
        return reinterpret_cast<Lanes*>(parts_.back().data());
    }

   private:
    std::vector<std::vector<float>> parts_;
};

void scan(const Problem& p, int64_t s, int64_t index, const float* state, float* y, float* final, float* starts) {
    const Block block(p, index);
    const int64_t N = p.states, matrix = p.channels * N;
    Scratch scratch;
    Lanes *A = scratch.rows(N), *h = scratch.rows(N);
    block.read_rates(p.A, A);
    block.read_matrix(state + s * matrix, h);
    Lanes skip = {};
    if (p.D) block.read(p.D, skip);
    for (int64_t step = 0; step < p.length(s); ++step) {
        if (step % kChunk == 0) {
            float* start = starts + (p.slot(s) + step / kChunk) * matrix;
            for (int64_t n = 0; n < N; ++n) block.write(h[n], start + n * p.channels);
        }
        const int64_t t = p.token(s, step);
        const float *B = p.B[t], *C = p.C[t];
        Lanes x, dt, input, out;
        block.read(p.x[t], x);
        block.read(p.dt[t], dt);
        const int64_t soon = p.token(s, std::min(step + kAhead, p.length(s) - 1));
        block.expect(p.x[soon]);
        block.expect(p.dt[soon]);
#pragma omp simd
        for (int64_t j = 0; j < kLanes; ++j) {
            input[j] = dt[j] * x[j];
            out[j] = skip[j] * x[j];
        }
        for (int64_t n = 0; n < N; ++n) {
#pragma omp simd
            for (int64_t j = 0; j < kLanes; ++j) {
                h[n][j] = power(dt[j] * A[n][j]) * h[n][j] + input[j] * B[n];
                out[j] += h[n][j] * C[n];
            }
        }
        if (p.gate.data) {
            Lanes z;
            block.read(p.gate[t], z);
#pragma omp simd
            for (int64_t j = 0; j < kLanes; ++j) out[j] *= z[j] * sigmoid(z[j]);
        }
        block.write(out, y + t * p.channels);
    }
    block.write_matrix(h, final + s * matrix);
}

struct Gradients {
    const float *dy, *dfinal, *starts;  // (T, D), (S, D, N), (slots, N, D)
    float *dx, *ddt, *dgate;            // (T, D)
    float *dA, *dD;                     // (groups, D, N), (groups, D)
    float *dB, *dC;                     // (slices, T, N)
    float* dstate;                      // (S, D, N)
};

// What a thread keeps of one block of channels over all its sequences.
struct Sums {
    Lanes *A, *dA, *dh, dD;
    explicit Sums(Scratch& scratch, int64_t N) : A(scratch.rows(N)), dA(scratch.rows(N)), dh(scratch.rows(N)), dD{} {}
};

// What one chunk of one block of channels needs.
struct Chunk {
    Lanes *decays, *h;         // (steps, N), (steps + 1, N)
    Lanes *x, *dt, *dy, *ddx;  // (steps,); ddx is the gradient of x through the skip
    Lanes *dB, *dC;            // (steps, N), summed over blocks of channels
    Chunk(Scratch& scratch, int64_t N)
        : decays(scratch.rows(kChunk * N)), h(scratch.rows((kChunk + 1) * N)), x(scratch.rows(kChunk)),
          dt(scratch.rows(kChunk)), dy(scratch.rows(kChunk)), ddx(scratch.rows(kChunk)),
          dB(scratch.rows(kChunk * N)), dC(scratch.rows(kChunk * N)) {}
};

// Compute the states of a chunk again, the gradient of the outputs before the gate, and that of the gate.
void replay(const Problem& p, const Gradients& g, int64_t s, int64_t begin, int64_t steps, const Block& block,
            Sums& sums, Chunk& c) {
    const int64_t N = p.states;
    const float* start = g.starts + (p.slot(s) + begin / kChunk) * N * p.channels;
    for (int64_t n = 0; n < N; ++n) block.read(start + n * p.channels, c.h[n]);
    Lanes skip = {};
    if (p.D) block.read(p.D, skip);
    for (int64_t i = 0; i < steps; ++i) {
        const int64_t t = p.token(s, begin + i);
        const float *B = p.B[t], *C = p.C[t];
        Lanes x, dt, dy, input, out;
        block.read(p.x[t], x);
        block.read(p.dt[t], dt);
        block.read(g.dy + t * p.channels, dy);
        const int64_t soon = p.token(s, begin + std::min(i + kAhead, steps - 1));
        block.expect(p.x[soon]);
        block.expect(p.dt[soon]);
        block.expect(g.dy + soon * p.channels);
#pragma omp simd
        for (int64_t j = 0; j < kLanes; ++j) {
            input[j] = dt[j] * x[j];
            out[j] = skip[j] * x[j];
        }
        Lanes *before = c.h + i * N, *after = before + N, *decays = c.decays + i * N;
        for (int64_t n = 0; n < N; ++n) {
#pragma omp simd
            for (int64_t j = 0; j < kLanes; ++j) {
                decays[n][j] = power(dt[j] * sums.A[n][j]);
                after[n][j] = decays[n][j] * before[n][j] + input[j] * B[n];
                out[j] += after[n][j] * C[n];
            }
        }
        if (p.gate.data) {
            Lanes z, share, dz;
            block.read(p.gate[t], z);
#pragma omp simd
            for (int64_t j = 0; j < kLanes; ++j) share[j] = sigmoid(z[j]);
#pragma omp simd
            for (int64_t j = 0; j < kLanes; ++j) {
                const float silu = z[j] * share[j];
                dz[j] = dy[j] * out[j] * (share[j] + silu * (1.0f - share[j]));
                dy[j] *= silu;
            }
            block.write(dz, g.dgate + t * p.channels);
        }
#pragma omp simd
        for (int64_t j = 0; j < kLanes; ++j) {
            c.x[i][j] = x[j];
            c.dt[i][j] = dt[j];
            c.dy[i][j] = dy[j];
            c.ddx[i][j] = dy[j] * skip[j];
            sums.dD[j] += dy[j] * x[j];
        }
    }
}

// Walk a chunk from its end, from the gradient of its last state to that of the state before it.
void unwind(const Problem& p, const Gradients& g, int64_t s, int64_t begin, int64_t steps, const Block& block,
            Sums& sums, Chunk& c) {
    const int64_t N = p.states;
    for (int64_t i = steps - 1; i >= 0; --i) {
        const int64_t t = p.token(s, begin + i);
        const float *B = p.B[t], *C = p.C[t];
        const Lanes *before = c.h + i * N, *after = before + N, *decays = c.decays + i * N;
        Lanes *dB = c.dB + i * N, *dC = c.dC + i * N;
        Lanes dt, dy, input, dinput = {}, drate = {};
#pragma omp simd
        for (int64_t j = 0; j < kLanes; ++j) {
            dt[j] = c.dt[i][j];
            dy[j] = c.dy[i][j];
            input[j] = dt[j] * c.x[i][j];
        }
        for (int64_t n = 0; n < N; ++n) {
#pragma omp simd
            for (int64_t j = 0; j < kLanes; ++j) {
                const float dh = sums.dh[n][j] + dy[j] * C[n];
                dC[n][j] += dy[j] * after[n][j];
                dB[n][j] += dh * input[j];
                dinput[j] += dh * B[n];
                const float passed = dh * decays[n][j], dexponent = passed * before[n][j];
                drate[j] += dexponent * sums.A[n][j];
                sums.dA[n][j] += dexponent * dt[j];
                sums.dh[n][j] = passed;
            }
        }
        Lanes dx, ddt;
#pragma omp simd
        for (int64_t j = 0; j < kLanes; ++j) {
            dx[j] = dinput[j] * dt[j] + c.ddx[i][j];
            ddt[j] = dinput[j] * c.x[i][j] + drate[j] * (1.0f / kLog2e);
        }
        block.write(dx, g.dx + t * p.channels);
        block.write(ddt, g.ddt + t * p.channels);
    }
}

float sum(const Lanes& lanes) {
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < kLanes; ++j) total += lanes[j];
    return total;
}

// Go back through the sequences of one group, for one slice of the blocks of channels.
void differentiate(const Problem& p, const Gradients& g, int64_t group, int64_t groups, int64_t slice, int64_t slices) {
    const int64_t N = p.states, matrix = p.channels * N, tokens = p.first[p.sequences];
    const int64_t low = slice * p.blocks() / slices, high = (slice + 1) * p.blocks() / slices;
    Scratch scratch;
    Chunk chunk(scratch, N);
    std::vector<Sums> sums;
    for (int64_t b = low; b < high; ++b) {
        sums.emplace_back(scratch, N);
        Block(p, b).read_rates(p.A, sums.back().A);
    }
    for (int64_t s = group; s < p.sequences; s += groups) {
        for (int64_t b = low; b < high; ++b) Block(p, b).read_matrix(g.dfinal + s * matrix, sums[b - low].dh);
        const int64_t length = p.length(s);
        for (int64_t begin = (length - 1) / kChunk * kChunk; length > 0 && begin >= 0; begin -= kChunk) {
            const int64_t steps = std::min(kChunk, length - begin);
            std::fill_n(chunk.dB[0], steps * N * kLanes, 0.0f);
            std::fill_n(chunk.dC[0], steps * N * kLanes, 0.0f);
            for (int64_t b = low; b < high; ++b) {
                const Block block(p, b);
                replay(p, g, s, begin, steps, block, sums[b - low], chunk);
                unwind(p, g, s, begin, steps, block, sums[b - low], chunk);
            }
            for (int64_t i = 0; i < steps; ++i) {
                const int64_t row = (slice * tokens + p.token(s, begin + i)) * N;
                for (int64_t n = 0; n < N; ++n) {
                    g.dB[row + n] = sum(chunk.dB[i * N + n]);
                    g.dC[row + n] = sum(chunk.dC[i * N + n]);
                }
            }
        }
        for (int64_t b = low; b < high; ++b) Block(p, b).write_matrix(sums[b - low].dh, g.dstate + s * matrix);
    }
    for (int64_t b = low; b < high; ++b) {
        Block(p, b).write_matrix(sums[b - low].dA, g.dA + group * matrix);
        if (p.D) Block(p, b).write(sums[b - low].dD, g.dD + group * p.channels);
    }
}

}  // namespace

extern "C" {

void forward(int threads, const float* x, int64_t x_stride, const float* dt, int64_t dt_stride, const float* A,
             const float* B, int64_t B_stride, const float* C, int64_t C_stride, const float* D, const float* gate,
             int64_t gate_stride, const int64_t* first, int64_t sequences, int64_t channels, int64_t states,
             int64_t reverse, const float* state, float* y, float* final, float* starts) {
    const Problem p{{x, x_stride}, {dt, dt_stride}, {B, B_stride}, {C, C_stride}, {gate, gate_stride}, A, D, first,
                    sequences, channels, states, reverse != 0};
    const int64_t blocks = p.blocks();
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t task = 0; task < sequences * blocks; ++task)
        scan(p, task / blocks, task % blocks, state, y, final, starts);
}

void backward(int threads, const float* x, int64_t x_stride, const float* dt, int64_t dt_stride, const float* A,
              const float* B, int64_t B_stride, const float* C, int64_t C_stride, const float* D, const float* gate,
              int64_t gate_stride, const int64_t* first, int64_t sequences, int64_t channels, int64_t states,
              int64_t reverse, const float* dy, const float* dfinal, const float* starts, float* dx, float* ddt,
              float* dgate, float* dA, float* dD, int64_t groups, float* dB, float* dC, int64_t slices,
              float* dstate) {
    const Problem p{{x, x_stride}, {dt, dt_stride}, {B, B_stride}, {C, C_stride}, {gate, gate_stride}, A, D, first,
                    sequences, channels, states, reverse != 0};
    const Gradients g{dy, dfinal, starts, dx, ddt, dgate, dA, dD, dB, dC, dstate};
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t task = 0; task < groups * slices; ++task)
        differentiate(p, g, task / slices, groups, task % slices, slices);
}

// One token a sequence, nothing kept: here the states of a channel, which lie side by side in memory, make the vector.
void step(int threads, const float* x, int64_t x_stride, const float* dt, int64_t dt_stride, const float* A,
          const float* B, int64_t B_stride, const float* C, int64_t C_stride, const float* D, const float* gate,
          int64_t gate_stride, int64_t sequences, int64_t channels, int64_t states, const float* state, float* y,
          float* final) {
#pragma omp parallel for num_threads(threads) schedule(static) collapse(2)
    for (int64_t s = 0; s < sequences; ++s) {
        for (int64_t d = 0; d < channels; ++d) {
            const int64_t row = (s * channels + d) * states;
            const float size = dt[s * dt_stride + d], value = x[s * x_stride + d];
            const float exponent = size * kLog2e, input = size * value;
            const float *rates = A + d * states, *b = B + s * B_stride, *c = C + s * C_stride;
            float out = 0.0f;
#pragma omp simd reduction(+ : out)
            for (int64_t n = 0; n < states; ++n) {
                const float h = power(exponent * rates[n]) * state[row + n] + input * b[n];
                final[row + n] = h;
                out += h * c[n];
            }
            if (D) out += D[d] * value;
            if (gate) out *= gate[s * gate_stride + d] * sigmoid(gate[s * gate_stride + d]);
            y[s * channels + d] = out;
        }
    }
}

}  // extern "C"
