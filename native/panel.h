// The product of a few rows and a panel of packed outputs, in registers. micro.h multiplies more rows by fewer outputs.
// Here each number of a row is loaded once for more outputs, and the sums may be used while they are in registers.
#pragma once

#include "micro.h"

namespace {

#if defined(ZVAE_AMX)
constexpr int ROWS = PIXELS, WIDE = 2;
#elif defined(__AVX512F__)
constexpr int ROWS = 6, WIDE = 4;  // 6 × 4 sums, 4 outputs, 1 input: 29 of 32 registers
#elif defined(NEON)
constexpr int ROWS = PIXELS, WIDE = VECTORS;
#else
constexpr int ROWS = 6, WIDE = 2;  // 6 × 2 sums, 2 outputs, 1 input: 15 of 16 registers
#endif
constexpr int64_t PANEL = WIDE * LANES;

struct Product {
  int64_t rows;
  const Number* from;  // rows that are `pitch` numbers apart
  int64_t pitch;
  const Number* panel;
  int64_t depth;

#if !defined(ZVAE_AMX)
  static auto kept(float* to) {  // before its users: Clang must have deduced its type
    return [to](int64_t m, V (&row)[WIDE]) IN_REGISTERS {
      for (int n = 0; n < WIDE; n++) store<F32>(to + m * PANEL + n * LANES, row[n]);
    };
  }
#endif

  // Calls use(row, sums) for each row.
  template <class Use>
  void run(Use use) const {
#if defined(ZVAE_AMX)
    V row[WIDE];
    each([&](int64_t m, int64_t i, V sums) {
      row[i / LANES] = sums;
      if (i == PANEL - LANES) use(m, row);
    });
#else
    run_rows<ROWS>(use);
#endif
  }

  // Calls use(row, output, sums) for each vector of sums: less code, but through memory.
  template <class Use>
  void each(Use use) const {
    alignas(64) float sums[ROWS * PANEL];
#if defined(ZVAE_AMX)
    Source<Number> source;
    source.taps[0] = from, source.count = 1, source.depth = depth, source.pitch = pitch;
    multiply(rows, PANEL, source, panel, sums, true);
#else
    run(kept(sums));
#endif
    for (int64_t m = 0; m < rows; m++)
      for (int64_t i = 0; i < PANEL; i += LANES) use(m, i, load<F32>(sums + m * PANEL + i));
  }

#if !defined(ZVAE_AMX)
 private:
  template <int M, class Use>
  void run_rows(Use use) const {
    if constexpr (M > 1)
      if (rows < M) return run_rows<M - 1>(use);
    compute<M>(from, pitch, panel, depth, use);
  }

  // Not inlined: with more code around it, GCC 12 keeps sums in memory.
  template <int M, class Use>
  __attribute__((noinline)) static void compute(const Number* from, int64_t pitch, const Number* panel, int64_t depth, Use use) {
    V sums[M][WIDE] = {};
    add<M, WIDE>(from, panel, depth, pitch, sums);
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) use(m, sums[m]);
  }
#endif
};

}  // namespace
