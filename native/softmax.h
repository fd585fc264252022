// The parts of the softmax: scores of 32 bits become weights, which are multiplied next.
#pragma once

#include <cmath>

#include "keys.h"

namespace {

// Rounds weights, which are no smaller than e^-87: the instruction would round subnormal numbers to 0.
inline void store_chance(Number* to, V x) {
#if defined(__AVX512BF16__)
  const __m256bh rounded = _mm512_cvtneps_pbh((__m512)x);
  memcpy(to, &rounded, sizeof rounded);
#else
  store<NUMBER>(to, x);
#endif
}

// Turns the scores of one query into weights. Returns their sum in each lane.
inline V soften(const float* scores, int64_t keys, float top, Number* to) {
  V sum{};
  for (int64_t k = 0; k < keys; k += LANES) {
    const V x = exp_of(load<F32>(scores + k) - top);
    store_chance(to + k, x);
    sum += x;
  }
  return sum;
}

// Reduces each row to one number. Returns them as one vector.
template <class Two>
inline V reduce(V (&rows)[LANES], Two two) {
  transpose(rows);
  V all = rows[0];
  for (int i = 1; i < LANES; i++) all = two(all, rows[i]);
  return all;
}

// The first `count` scores. Others are padding: their weight is the smallest, e^-87, which changes no sum, because the
// greatest weight is 1, and their values are zeros.
inline V first_of(V x, int64_t count) {
  I lane;
  for (int i = 0; i < LANES; i++) lane[i] = i;
  return select(lane < (int32_t)count, x, splat(-INFINITY));
}

}  // namespace
