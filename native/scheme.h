// One-dimensional Winograd schemes: `IN` inputs become planes, products of planes and weights become `OUT` results.
//
// A square applies one down and across (squares.h). A scheme moves on by `STEP` inputs. Product p reads plane(p). Each
// scheme is linear: in() transforms the inputs, out() the products, and share() the three taps of a kernel.
#pragma once

#include <type_traits>

#include "vectors.h"

namespace {

// Four pixels of a 3-tap convolution by six products. The points 0, ±5/8, ±3/2 and infinity have a smaller error than
// the usual 0, ±1, ±2 and infinity, by a factor of two (docs/exactness.md). Their squares and products are exact.
struct Four {
  static constexpr int64_t IN = 6, STEP = 4, PRODUCTS = 6, OUT = 4;
  static constexpr float A = 0.625f, B = 1.5f, A2 = A * A, B2 = B * B;

  static constexpr int64_t plane(int64_t product) { return product; }

  static inline void in(const V* d, V* t) {
    t[0] = A2 * B2 * d[0] + (d[4] - (A2 + B2) * d[2]);
    t[5] = A2 * B2 * d[1] + (d[5] - (A2 + B2) * d[3]);
    V even = d[4] - B2 * d[2], odd = d[3] - B2 * d[1];
    t[1] = even + A * odd;
    t[2] = even - A * odd;
    even = d[4] - A2 * d[2], odd = d[3] - A2 * d[1];
    t[3] = even + B * odd;
    t[4] = even - B * odd;
  }

  static inline void out(const V* m, V* y) {
    const V s1 = m[1] + m[2], d1 = m[1] - m[2], s2 = m[3] + m[4], d2 = m[3] - m[4];
    y[0] = m[0] + s1 + s2;
    y[1] = A * d1 + B * d2;
    y[2] = A2 * s1 + B2 * s2;
    y[3] = A * A2 * d1 + B * B2 * d2 + m[5];
  }

  template <class X>
  static inline void share(const X* g, X* u) {
    constexpr double a = A, b = B, a2 = a * a, b2 = b * b, na = 2 * a2 * (a2 - b2), nb = 2 * b2 * (b2 - a2);
    typedef std::remove_reference_t<decltype(g[0][0])> Number;
    const auto times = [](double factor, X x) { return (Number)factor * x; };
    const X even_a = times(1 / na, g[0]) + times(a2 / na, g[2]), odd_a = times(a / na, g[1]);
    const X even_b = times(1 / nb, g[0]) + times(b2 / nb, g[2]), odd_b = times(b / nb, g[1]);
    u[0] = times(1 / (a2 * b2), g[0]);
    u[1] = even_a + odd_a;
    u[2] = even_a - odd_a;
    u[3] = even_b + odd_b;
    u[4] = even_b - odd_b;
    u[5] = g[2];
  }
};

// Two pixels, doubled to four, by five products. Result 2i reads taps (g0, g1 + g2) and result 2i + 1 reads
// (g0 + g1, g2) of the small map. Both are kernels of three taps on one window, (g0, g1 + g2, 0) and (0, g0 + g1, g2).
// At the points 0 and infinity one of the two is zero; at 1 both have the same product. So 1 must be among the points.
struct Doubled {
  static constexpr int64_t IN = 4, STEP = 2, PRODUCTS = 5, OUT = 4;

  static constexpr int64_t plane(int64_t product) { return product > 2 ? product - 1 : product; }

  static inline void in(const V* d, V* t) {
    t[0] = d[0] - d[2];
    t[1] = d[1] + d[2];
    t[2] = d[2] - d[1];
    t[3] = d[1] - d[3];
  }

  static inline void out(const V* m, V* y) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] + m[3];
    y[2] = m[1] - m[2];
    y[3] = m[1] - m[3] - m[4];
  }

  template <class X>
  static inline void share(const X* g, X* u) {
    const X sum = g[0] + g[1];
    u[0] = g[0];
    u[1] = (sum + g[2]) / 2;
    u[2] = (g[0] - g[1] - g[2]) / 2;
    u[3] = (g[2] - sum) / 2;
    u[4] = g[2];
  }
};

}  // namespace
