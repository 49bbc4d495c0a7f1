// Binary linear maps on a CPU, by counting bits.
//
//     N tokens   D inputs   E outputs   W = D / 64 words, rounded up   P bit planes of a token: 8, or 1 of signs
//
// With b the bits of the weights, a token's whole numbers q = -128 p7 + 64 p6 + ... + p0 in bit planes p:
// sum q (2b - 1) = 2 (|p0 and b| + ... + 64 |p6 and b| - 128 |p7 and b|) - sum q; and of signs, 2 |p7 xor b| - D, since
// p7 is set where they are negative. Outputs are worked on together, so that sums need not cross a vector's lanes.
#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

constexpr int64_t LANES = 16;  // outputs worked on together

int64_t ones(uint64_t word) { return __builtin_popcountll(word); }

void of_signs(const uint64_t* p, const uint64_t* tile, int64_t D, int64_t W, int64_t* products) {
    int64_t total[LANES] = {0};
    for (int64_t w = 0; w < W; ++w) {
        const uint64_t plane = p[w], *words = tile + w * LANES;
#pragma omp simd
        for (int64_t k = 0; k < LANES; ++k) total[k] += ones(plane ^ words[k]);
    }
    for (int64_t k = 0; k < LANES; ++k) products[k] = 2 * total[k] - D;
}

void of_bytes(const uint64_t* p, const uint64_t* tile, int64_t sum, int64_t W, int64_t* products) {
    int64_t total[LANES] = {0};
    for (int64_t w = 0; w < W; ++w, p += 8) {
        const uint64_t* words = tile + w * LANES;
#pragma omp simd
        for (int64_t k = 0; k < LANES; ++k) {
            const uint64_t b = words[k];
            total[k] += ones(p[0] & b) + (ones(p[1] & b) << 1) + (ones(p[2] & b) << 2) + (ones(p[3] & b) << 3) +
                        (ones(p[4] & b) << 4) + (ones(p[5] & b) << 5) + (ones(p[6] & b) << 6) - (ones(p[7] & b) << 7);
        }
    }
    for (int64_t k = 0; k < LANES; ++k) products[k] = 2 * total[k] - sum;
}

// The bits of 64 whole numbers or fewer, into the planes. Eight bytes at once: a product moves the lowest bit of byte k
// to bit 56 + k, and nothing else there.
void take_planes(const int8_t* q, int64_t length, int64_t P, uint64_t* planes) {
    for (int64_t j = 0; j < P; ++j) planes[j] = 0;
    for (int64_t i = 0; i < length; i += 8) {
        uint64_t bytes = 0;
        for (int64_t k = 0; k < std::min<int64_t>(length - i, 8); ++k)
            bytes |= static_cast<uint64_t>(static_cast<uint8_t>(q[i + k])) << (8 * k);
        for (int64_t j = 0; j < P; ++j) {
            const uint64_t bits = (bytes >> (P == 1 ? 7 : j)) & 0x0101010101010101;
            planes[j] |= ((bits * 0x0102040810204080) >> 56) << i;
        }
    }
}

}  // namespace

extern "C" {

// q (N, D), weight (E, W) -> y (N, E) = q signs^T weight_scale scale + bias; P = 1 means that q holds signs
void multiply(int threads, const int8_t* q, const float* scale, const uint64_t* weight, const float* weight_scale,
              const float* bias, float* y, int64_t N, int64_t D, int64_t E, int64_t W, int64_t P) {
    std::vector<uint64_t> planes(N * W * P);
    std::vector<int64_t> sums(N, 0);
#pragma omp parallel for num_threads(threads) if (N * D * P > 65536)
    for (int64_t n = 0; n < N; ++n) {
        const int8_t* row = q + n * D;
        for (int64_t w = 0; w < W; ++w)
            take_planes(row + 64 * w, std::min<int64_t>(D - 64 * w, 64), P, planes.data() + (n * W + w) * P);
        for (int64_t i = 0; i < D; ++i) sums[n] += row[i];
    }
#pragma omp parallel num_threads(threads) if (N * W * E * P > 65536)
    {
        std::vector<uint64_t> tile(W * LANES);  // (W, LANES)
        int64_t products[LANES];
#pragma omp for
        for (int64_t start = 0; start < E; start += LANES) {
            const int64_t outputs = std::min(E - start, LANES);
            for (int64_t k = 0; k < outputs; ++k)
                for (int64_t w = 0; w < W; ++w) tile[w * LANES + k] = weight[(start + k) * W + w];
            for (int64_t n = 0; n < N; ++n) {
                const uint64_t* plane = planes.data() + n * W * P;
                if (P == 1)
                    of_signs(plane, tile.data(), D, W, products);
                else
                    of_bytes(plane, tile.data(), sums[n], W, products);
                for (int64_t k = 0, o = start; k < outputs; ++k, ++o)
                    y[n * E + o] = static_cast<float>(products[k]) * weight_scale[o] * scale[n] + (bias ? bias[o] : 0);
            }
        }
    }
}
}
