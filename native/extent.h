// What is noted of every row of a result: its extent, and the sum of its bits.
#pragma once

#include <cmath>

#include "readback.h"

namespace {

// The smallest and the largest sum of a row. NaN has its own flag, because comparisons skip it.
struct Extent {
  V low = splat(INFINITY), high = splat(-INFINITY);
  I nan = {};
  BitSum written;  // bits of the sums with bias and skip

  void add(V x, int64_t count) {
    if (count < LANES)
      for (int64_t j = count; j < LANES; j++) x[j] = x[0];
    low = select(x < low, x, low);
    high = select(x > high, x, high);
    nan |= x != x;
  }
  bool has_nan() const {
    int32_t any = 0;
    for (int i = 0; i < LANES; i++) any |= nan[i];
    return any != 0;
  }
};

}  // namespace
