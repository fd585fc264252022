// Fewer products than taps, after Winograd, and Lavin and Gray (2015). The products take differences of inputs, which
// are rounded, but their sums are shorter. In float32 with 16 channels or more, the shorter sums save more error than
// the differences add (benchmarks/exactness.py). bfloat16 would round the differences once more, so it never uses this.
//
// Pairs: two pixels of a row need four products instead of six. Pairs are along rows only, so a band can begin in any
// row:
//   y0 = p0 + p1 + p2, y1 = p1 - p2 - p3, where p0 = (x0 - x2) g0, p1 = (x1 + x2) (g0 + g1 + g2)/2,
//   p2 = (x2 - x1) (g0 - g1 + g2)/2, p3 = (x1 - x3) g2
//
// Folds: pixel x1 is doubled to y0 and y1, which also read its neighbours x0 and x2. They need three products instead
// of four: one of all taps, and two of an outer tap and a difference:
//   y0 = (x0 - x1) g0 + x1 (g0 + g1 + g2), y1 = x1 (g0 + g1 + g2) - (x1 - x2) g2
// The same holds down as across, so four pixels need nine products instead of sixteen.
#pragma once

#include "micro.h"

namespace {

constexpr int64_t PAIRED = 4, FOLDED = 3;  // products along a row, for pairs and for folds
constexpr int64_t PLANES = 4;              // in a row of scratch: a product reads one plane

// The number of kernels in the packed weights, and of products in each kernel.
template <class Operation>
int64_t phases_of(const Operation& o) {
  return o.upsample && !o.winograd ? 4 : 1;
}
template <class Operation>
int64_t taps_of(const Operation& o) {
  if (o.winograd) return o.upsample ? FOLDED * FOLDED : PAIRED * o.kernel;
  return o.upsample ? 4 : o.kernel * o.kernel;
}

// The factor of a tap in a product.
inline float share(bool folded, int64_t product, int64_t tap) {
  if (product == 0) return tap == 0;
  if (product == (folded ? 2 : 3)) return tap == 2;
  return folded ? 1 : product == 2 && tap == 1 ? -0.5f : 0.5f;
}

// Computes the inputs of a pair's four products from the four pixels that it reads. Each goes into its own plane.
inline void pair_up(const Number* in, int64_t pitch, Number* out, int64_t plane) {
  for (int64_t i = 0; i < pitch; i += LANES) {
    const V x0 = load<NUMBER>(in + i), x1 = load<NUMBER>(in + pitch + i);
    const V x2 = load<NUMBER>(in + 2 * pitch + i), x3 = load<NUMBER>(in + 3 * pitch + i);
    store<NUMBER>(out + i, x0 - x2);
    store<NUMBER>(out + plane + i, x1 + x2);
    store<NUMBER>(out + 2 * plane + i, x2 - x1);
    store<NUMBER>(out + 3 * plane + i, x1 - x3);
  }
}

inline void subtract(const Number* a, const Number* b, int64_t count, Number* out) {
  for (int64_t i = 0; i < count; i += LANES) store<NUMBER>(out + i, load<NUMBER>(a + i) - load<NUMBER>(b + i));
}

typedef float Sums[PIXELS * OUTPUTS];

// Computes the two pixels of each pair from its products.
inline void part_pairs(int64_t pairs, int64_t outputs, const Sums (&products)[PAIRED], float* out) {
  for (int64_t m = 0; m < pairs; m++)
    for (int64_t i = 0; i < outputs; i += LANES) {
      V p[PAIRED];
      for (int n = 0; n < PAIRED; n++) p[n] = load<F32>(products[n] + m * OUTPUTS + i);
      store<F32>(out + 2 * m * OUTPUTS + i, p[0] + p[1] + p[2]);
      store<F32>(out + (2 * m + 1) * OUTPUTS + i, p[1] - p[2] - p[3]);
    }
}

// Computes the two rows of doubled pixels from their nine products. The products for the row above come first.
inline void part_folds(int64_t pixels, int64_t outputs, const Sums (&products)[FOLDED * FOLDED], float* upper, float* lower) {
  for (int64_t m = 0; m < pixels; m++)
    for (int64_t i = 0; i < outputs; i += LANES) {
      V left[FOLDED], right[FOLDED];
      for (int n = 0; n < FOLDED; n++) {
        const V middle = load<F32>(products[FOLDED * n + 1] + m * OUTPUTS + i);
        left[n] = load<F32>(products[FOLDED * n] + m * OUTPUTS + i) + middle;
        right[n] = middle - load<F32>(products[FOLDED * n + 2] + m * OUTPUTS + i);
      }
      const int64_t at = 2 * m * OUTPUTS + i;
      store<F32>(upper + at, left[0] + left[1]);
      store<F32>(upper + at + OUTPUTS, right[0] + right[1]);
      store<F32>(lower + at, left[1] - left[2]);
      store<F32>(lower + at + OUTPUTS, right[1] - right[2]);
    }
}

}  // namespace
