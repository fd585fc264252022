// The CPU's peak: products of registers, without memory. Benchmarks compare the kernels with it.
#pragma once

#include "micro.h"

namespace {

// Runs `rounds` rounds of products. Returns the number of floating-point operations.
int64_t multiply_registers(int64_t rounds, float* sink) {
#if defined(ZVAE_AMX)
  begin_tiles();
  tile_zero(0);
  tile_zero(1);
  tile_zero(2);
  tile_zero(3);
  tile_zero(4);
  tile_zero(6);
  for (int64_t i = 0; i < rounds; i++) {
    tile_multiply(0, 4, 6);
    tile_multiply(1, 4, 6);
    tile_multiply(2, 4, 6);
    tile_multiply(3, 4, 6);
  }
  alignas(64) float out[256];
  tile_store(0, out, 64);
  end_tiles();
  *sink = out[0];
  return rounds * 4 * 2 * 16 * 16 * 32;
#else
#if defined(NEON)
  constexpr int CHAINS = 16;  // enough for 4 units with a latency of 4 cycles
#else
  constexpr int CHAINS = 12;  // enough for 2 units with a latency of 6 cycles
#endif
  V sums[CHAINS], x = splat(*sink), y = splat(1 - *sink);
  for (V& sum : sums) sum = x;
  for (int64_t i = 0; i < rounds; i++)
    for (V& sum : sums)
#if defined(ZVAE_BF16)
      sum = (V)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)y);
#elif defined(ZVAE_BFMMLA)
      sum = (V)vbfmmlaq_f32((float32x4_t)sum, (bfloat16x8_t)x, (bfloat16x8_t)y);
#else
      sum = sum * y + x;
#endif
  V all{};
  for (V& sum : sums) all += sum;
  *sink = largest(all);
  return rounds * CHAINS * LANES * 2 * DEPTH;
#endif
}

}  // namespace
