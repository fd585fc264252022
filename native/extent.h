// What is noted of every row of a result: its extent, and the sum of its bits.
#pragma once

#include <cmath>

#include "readback.h"

namespace {

// The smallest and the largest sum of a row. NaN has its own flag, because comparisons skip it.
struct Extent {
  V low = splat(INFINITY), high = splat(-INFINITY);
  I nan = {};
  V nan_if_not_finite = {};
  BitSum written;  // bits of the sums with bias and skip

  void add(V x, int64_t count) {
    if (count < LANES)
      for (int64_t j = count; j < LANES; j++) x[j] = x[0];
    low = select(x < low, x, low);
    high = select(x > high, x, high);
    nan |= x != x;
  }
  // The same, faster: a number that is not finite makes the extent NaN.
  void note(V x, int64_t count) {
    if (count < LANES)
      for (int64_t j = count; j < LANES; j++) x[j] = x[0];
    low = smaller(x, low), high = greater(x, high);
    nan_if_not_finite += x * 0.0f;
  }
  bool has_nan() const {
    int32_t any = 0;
    for (int i = 0; i < LANES; i++) any |= nan[i] | (nan_if_not_finite[i] != 0);
    return any != 0;
  }
  // Writes what was noted of a row of a tile.
  void report(const Conv& c, int64_t at) const {
    c.low[at] = has_nan() ? NAN : smallest(low);
    c.high[at] = has_nan() ? NAN : largest(high);
    c.sums[at] = written.total();
  }
};

}  // namespace
