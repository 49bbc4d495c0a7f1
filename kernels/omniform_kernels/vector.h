// What the C++ forms share: an exponential that a compiler turns into vector instructions.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace omniform {

// e^x to 2 units in the last place; 0 below -87.3 (subnormal results included), infinity above 88.7, NaN of NaN.
// 2^n from the exponent's bits, e^r by a polynomial on |r| <= ln 2 / 2 (Cephes' coefficients).
static inline float exponential(float x) {
    const float clamped = x < -87.3f ? -87.3f : (x > 88.7f ? 88.7f : x);  // NaN passes both
    const float n = __builtin_rintf(clamped * 1.44269504088896341f);
    const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    // Two factors, since 2^128 is no float but e^88.7 is.
    const int32_t whole = static_cast<int32_t>(n), half = whole >> 1;
    const int32_t low_bits = (half + 127) << 23, high_bits = (whole - half + 127) << 23;
    float low, high;
    std::memcpy(&low, &low_bits, 4);
    std::memcpy(&high, &high_bits, 4);
    const float y = p * low * high;
    return x < -87.3f ? 0.0f : (x > 88.7f ? INFINITY : y);
}

}  // namespace omniform
