// The product of a few rows and a panel of packed outputs, in registers. `micro.h` multiplies more rows by fewer outputs,
// which suits a convolution's weights; the attention has as many outputs as it wants, and each row is loaded less often.
#pragma once

#include "micro.h"

namespace {

#if defined(ZVAE_AMX)
constexpr int ROWS = PIXELS;
#else
constexpr int ROWS = 6;
#endif
#if defined(__AVX512F__) && !defined(ZVAE_AMX)
constexpr int WIDE = 4;  // 6 × 4 sums, 4 outputs, 1 input: 29 of 32 registers
#else
constexpr int WIDE = 2;  // 6 × 2 sums, 2 outputs, 1 input: 15 of 16 registers
#endif
constexpr int64_t PANEL = WIDE * LANES;

// Calls done(row, sums) for each of `rows` rows, which are `pitch` numbers apart.
#if defined(ZVAE_AMX)
template <class Done>
inline void multiply_panel(int64_t rows, const Number* from, int64_t pitch, const Number* panel, int64_t depth, Done done) {
  alignas(64) float sums[ROWS * PANEL];
  Source<Number> source;
  source.taps[0] = from, source.count = 1, source.depth = depth, source.pitch = pitch;
  multiply(rows, PANEL, source, panel, sums, true);
  for (int64_t m = 0; m < rows; m++) {
    V row[WIDE];
    for (int n = 0; n < WIDE; n++) row[n] = load<F32>(sums + (m * WIDE + n) * LANES);
    done(m, row);
  }
}
#else
template <int M, class Done>
__attribute__((noinline)) void product(const Number* from, int64_t pitch, const Number* panel, int64_t depth, Done done) {
  V sums[M][WIDE] = {};
  add<M, WIDE>(from, panel, depth, pitch, sums);
#pragma GCC unroll 8
  for (int m = 0; m < M; m++) done(m, sums[m]);
}

template <int M = ROWS, class Done>
inline void multiply_panel(int64_t rows, const Number* from, int64_t pitch, const Number* panel, int64_t depth, Done done) {
  if constexpr (M > 1)
    if (rows < M) return multiply_panel<M - 1>(rows, from, pitch, panel, depth, done);
  product<M>(from, pitch, panel, depth, done);
}
#endif

}  // namespace
