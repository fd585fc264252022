// The numbers that squares multiply, and their products in registers: int16 with block scales, or float32.
//
// With ZVAE_I16, a plane of a square has one scale for all its channels, and so has a product of an output. They bound
// every sum below 2^31 whatever the data, because a sum is at most the product of both norms (Cauchy, Schwarz). The
// rounding to int16 is finer than that of bfloat16 (docs/exactness.md).
#pragma once

#include <cmath>

#include "micro.h"

namespace {

#if defined(ZVAE_I16)

typedef int16_t Small;
constexpr int64_t PAIR = 2;            // channels that are multiplied at once
constexpr int64_t CHANNELS_AT_ONCE = 1 << 30;  // a sum has all channels: the scales bound it
constexpr double WEIGHTS_NORM = 46000;
constexpr float LARGEST_SCALE = 1e30f;

// The largest norm of a plane, so that no sum of `channels` products reaches 2^31, rounding included.
inline float planes_norm(int64_t channels) {
  const double half = sqrt((double)channels) / 2;
  return 0.9999 * ((2147483647.0 / (WEIGHTS_NORM + half)) - half);
}

// Sums of M squares × N vectors of outputs: `planes` are `pitch` apart, `out` is OUTPUTS apart.
template <int M, int N>
void small_product(const Small* planes, int64_t pitch, const float* scales, int64_t apart, const Small* weights,
                   const float* shares, int64_t depth, float* out, bool) {
  V sums[M][N] = {};  // whole numbers, by their bits: GCC keeps an array of V in registers, but none of __m512i
  for (int64_t i = 0; i < depth; i += 2, planes += 2, weights += 2 * N * LANES) {
    __m512i w[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; n++) w[n] = _mm512_loadu_si512(weights + 2 * n * LANES);
#pragma GCC unroll 16
    for (int m = 0; m < M; m++) {
      int32_t pair;
      memcpy(&pair, planes + m * pitch, 4);
      const __m512i x = _mm512_set1_epi32(pair);
#pragma GCC unroll 8
      for (int n = 0; n < N; n++) {
        V sum = sums[m][n];  // an element of an array as an operand would put the array into memory
        asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w[n]));
        sums[m][n] = sum;
      }
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; m++) {
    const V scale = splat(scales[m * apart]);
    for (int n = 0; n < N; n++)
      store<F32>(out + m * OUTPUTS + n * LANES,
                 (V)_mm512_cvtepi32_ps((__m512i)sums[m][n]) * (load<F32>(shares + n * LANES) * scale));
  }
}

// Rounds a plane of a square to int16, and returns its scale: what a whole number is worth. A plane with a number that
// is not finite gets NaN, so all that reads it is NaN.
inline float quantise(const float* plane, int64_t channels, float largest_norm, Small* out) {
  __m512 most = _mm512_setzero_ps(), square = most, more = most, second = most;
  for (int64_t i = 0; i < channels; i += 32) {
    const __m512 x = _mm512_loadu_ps(plane + i), y = _mm512_loadu_ps(plane + i + 16);
    most = _mm512_max_ps(most, _mm512_abs_ps(x)), more = _mm512_max_ps(more, _mm512_abs_ps(y));
    square = _mm512_fmadd_ps(x, x, square), second = _mm512_fmadd_ps(y, y, second);
  }
  const float norm = sqrtf(_mm512_reduce_add_ps(_mm512_add_ps(square, second)));
  const float top = _mm512_reduce_max_ps(_mm512_max_ps(most, more));
  float scale = top > 0 ? 32767 / top : 1;
  if (norm > 0 && largest_norm / norm < scale) scale = largest_norm / norm;
  scale = scale < LARGEST_SCALE ? scale : LARGEST_SCALE;
  alignas(64) static const uint16_t even[32] = {0,  2,  4,  6,  8,  10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
                                                32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62};
  const __m512i low = _mm512_load_si512(even);
  const __m512 by = _mm512_set1_ps(scale);
  for (int64_t i = 0; i < channels; i += 32) {
    const __m512i x = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(plane + i), by));
    const __m512i y = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(plane + i + 16), by));
    _mm512_storeu_si512(out + i, _mm512_permutex2var_epi16(x, low, y));
  }
  return norm - norm == 0 ? 1 / scale : NAN;
}

#else

typedef float Small;
constexpr int64_t PAIR = 1;
constexpr int64_t CHANNELS_AT_ONCE = 64;  // longer sums are added up from sums of this many: a smaller error

template <int M, int N>
void small_product(const Small* planes, int64_t pitch, const float*, int64_t, const Small* weights, const float*,
                   int64_t depth, float* out, bool more) {
  V sums[M][N] = {};
  for (int64_t i = 0; i < depth; i++, planes++, weights += N * LANES) {
    V w[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; n++) w[n] = load<F32>(weights + n * LANES);
#pragma GCC unroll 16
    for (int m = 0; m < M; m++) {
      const V x = splat(planes[m * pitch]);
#pragma GCC unroll 8
      for (int n = 0; n < N; n++) sums[m][n] += x * w[n];
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) {
      float* to = out + m * OUTPUTS + n * LANES;
      store<F32>(to, more ? load<F32>(to) + sums[m][n] : sums[m][n]);
    }
}

#endif

#if defined(NEON)
constexpr int SQUARES = 5;  // in registers
#else
constexpr int SQUARES = LANES == 16 ? 14 : 6;
#endif

template <int N, int M = SQUARES>
inline void small_product_of(int64_t count, const Small* planes, int64_t pitch, const float* scales, int64_t apart,
                             const Small* weights, const float* shares, int64_t depth, float* out, bool more) {
  if (count == M) return small_product<M, N>(planes, pitch, scales, apart, weights, shares, depth, out, more);
  if constexpr (M > 1)
    small_product_of<N, M - 1>(count, planes, pitch, scales, apart, weights, shares, depth, out, more);
}

// Multiplies by `outputs` outputs, a whole number of vectors.
template <int N = VECTORS, class... Rest>
inline void small_multiply(int64_t outputs, Rest... rest) {
  if (outputs == N * LANES) return small_product_of<N>(rest...);
  if constexpr (N > 1) small_multiply<N - 1>(outputs, rest...);
}

}  // namespace
