// What the C++ forms share: an exponential that a compiler turns into vector instructions.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace omniform {

// a b + c, which the compiler may not reorder where the rounding of each step matters.
static inline float fused(float a, float b, float c) {
#ifdef __FMA__
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

// e^x to 2 units in the last place; 0 below -87.3 (subnormal results included), infinity above 88.7, NaN of NaN.
// e^r by a polynomial on |r| <= ln 2 / 2 (Cephes' coefficients), times 2^n by adding n to the exponent's bits, which
// stays within a float's exponents over that range.
static inline float exponential(float x) {
    const float clamped = x < -87.3f ? -87.3f : (x > 88.7f ? 88.7f : x);  // NaN passes both
    const float n = __builtin_rintf(clamped * 1.44269504088896341f);
    const float r = fused(n, 2.12194440e-4f, fused(n, -0.693359375f, clamped));
    float p = 1.9875691500e-4f;
    p = fused(p, r, 1.3981999507e-3f);
    p = fused(p, r, 8.3334519073e-3f);
    p = fused(p, r, 4.1665795894e-2f);
    p = fused(p, r, 1.6666665459e-1f);
    p = fused(p, r, 5.0000001201e-1f);
    p = fused(p * r, r, r) + 1.0f;
    int32_t bits;
    std::memcpy(&bits, &p, 4);
    bits += static_cast<int32_t>(x == x ? n : 0.0f) << 23;
    float y;
    std::memcpy(&y, &bits, 4);
    return x < -87.3f ? 0.0f : (x > 88.7f ? INFINITY : y);
}

}  // namespace omniform
