// The product of a few pixels and a block of outputs, in registers. The kernels above it are the same for all CPUs.
//
// Build with one of ZVAE_F32 (vectors of float32), ZVAE_BF16 (AVX-512's products of bfloat16 pairs), ZVAE_BFMMLA (ARM's of
// fours), ZVAE_AMX (tiles).
#pragma once

#include "vectors.h"

namespace {

// The inputs of a product: `count` taps of `depth` channels each. Its pixels are `pitch` numbers apart.
template <class Number>
struct Source {
  const Number* taps[9];
  int64_t count, depth, pitch;
};

#if defined(ZVAE_F32)

typedef float Number;
constexpr Type NUMBER = F32;
constexpr int64_t DEPTH = 1;
#if defined(__AVX512F__)
constexpr int PIXELS = 14, VECTORS = 2;  // 14 × 2 sums, 2 weights, 1 input: 31 of 32 registers
#elif defined(NEON)
constexpr int PIXELS = 5, VECTORS = 4;  // 5 × 4 sums, 4 weights, 5 inputs, which GCC loads first: 29 of 32 registers
#else
constexpr int PIXELS = 6, VECTORS = 2;  // 6 × 2 sums, 2 weights, 1 input: 15 of 16 registers
#endif
typedef V Sum;

template <int M, int N>
inline void add(const Number* a, const Number* b, int64_t depth, int64_t pitch, V (&sums)[M][N]) {
  for (int64_t i = 0; i < depth; i++, a++, b += N * LANES) {
    V w[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; n++) w[n] = load<F32>(b + n * LANES);
#pragma GCC unroll 16
    for (int m = 0; m < M; m++) {
      V x = splat(a[m * pitch]);
#pragma GCC unroll 8
      for (int n = 0; n < N; n++) sums[m][n] += x * w[n];
    }
  }
}

#elif defined(ZVAE_BF16)

typedef uint16_t Number;
constexpr Type NUMBER = BF16;
constexpr int64_t DEPTH = 2;
constexpr int PIXELS = 14, VECTORS = 2;

template <int M, int N>
inline void add(const Number* a, const Number* b, int64_t depth, int64_t pitch, V (&sums)[M][N]) {
  for (int64_t i = 0; i < depth; i += 2, a += 2, b += 2 * N * LANES) {
    __m512i w[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; n++) w[n] = _mm512_loadu_si512(b + 2 * n * LANES);
#pragma GCC unroll 16
    for (int m = 0; m < M; m++) {
      int32_t pair;
      memcpy(&pair, a + m * pitch, 4);
      __m512i x = _mm512_set1_epi32(pair);
#pragma GCC unroll 8
      for (int n = 0; n < N; n++) sums[m][n] = (V)_mm512_dpbf16_ps((__m512)sums[m][n], (__m512bh)x, (__m512bh)w[n]);
    }
  }
}

#elif defined(ZVAE_BFMMLA)

#include "fours.h"

#endif

#if defined(ZVAE_AMX)

#include "tiles.h"

#else

// Computes sums of M pixels × N vectors, from 0 if `fresh`, else from `out`, which has OUTPUTS numbers for each pixel.
template <int M, int N>
void product(const Source<Number>& source, const Number* weights, float* out, bool fresh) {
  V sums[M][N];
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) sums[m][n] = fresh ? V{} : load<F32>(out + (m * VECTORS + n) * LANES);
  for (int64_t tap = 0; tap < source.count; tap++) {
    add<M, N>(source.taps[tap], weights, source.depth, source.pitch, sums);
    weights += source.depth * N * LANES;
  }
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) store<F32>(out + (m * VECTORS + n) * LANES, sums[m][n]);
}

template <int N, int M = PIXELS>
inline void product_of(int64_t pixels, const Source<Number>& source, const Number* weights, float* out, bool fresh) {
  if (pixels == M) return product<M, N>(source, weights, out, fresh);
  if constexpr (M > 1) product_of<N, M - 1>(pixels, source, weights, out, fresh);
}

#endif

constexpr int OUTPUTS = VECTORS * LANES;
#if defined(ZVAE_AMX)
constexpr int64_t GRAIN = 16;  // AMX computes 16 pixels at the cost of one
#else
constexpr int64_t GRAIN = 1;
#endif

// Multiplies by one block of packed weights: VECTORS vectors of outputs, or fewer if no more are left.
template <int N = VECTORS>
inline void multiply(int64_t pixels, int64_t outputs, const Source<Number>& source, const Number* weights, float* out,
                     bool fresh) {
  if (outputs > (N - 1) * LANES) return product_of<N>(pixels, source, weights, out, fresh);
  if constexpr (N > 1) multiply<N - 1>(pixels, outputs, source, weights, out, fresh);
}

#if !defined(ZVAE_AMX)
inline void begin_tiles() {}
inline void end_tiles() {}
#endif

// Numbers from one pixel to the next in scratch: an odd number of cache lines, so that pixels do not share a cache set.
inline int64_t pitch_of(int64_t channels) {
  return (round_up(channels, 64 / sizeof(Number)) / (64 / sizeof(Number)) | 1) * (64 / sizeof(Number));
}

inline char* aligned(void* p) { return (char*)(((uintptr_t)p + 63) & ~(uintptr_t)63); }

}  // namespace
