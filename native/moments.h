// Mean and M2 of each channel in each row. Segments of SEGMENT pixels take two passes in float32, and are merged in
// float64 (Chan, Golub and LeVeque 1979). Each row is cut into segments by itself, so every plan gets the same bits.
#pragma once

#include "vectors.h"

namespace {

constexpr int64_t SEGMENT = 64;

template <Type T>
void segment_moments(const Moments& s, const char* in, int64_t count, int64_t before, double* mean, double* m2) {
  for (int64_t i = 0; i < s.channels; i += LANES) {
    const int64_t left = s.channels - i;
    const char* from = in + i * size_of(T);
    V sum{}, squares{};
    for (int64_t x = 0; x < count; x++) sum += load_some<T>(from + x * s.channels * size_of(T), left);
    const V middle = sum / (float)count;
    V rest{};  // rounding error of the mean, times count: added to the mean, and removed from M2
    for (int64_t x = 0; x < count; x++) {
      const V d = load_some<T>(from + x * s.channels * size_of(T), left) - middle;
      rest += d;
      squares += d * d;
    }
    for (int64_t j = 0; j < LANES && j < left; j++) {
      const double more = (double)rest[j] / count, distance = middle[j] + more - mean[i + j], total = before + count;
      mean[i + j] += distance * count / total;
      m2[i + j] += squares[j] - more * rest[j] + distance * distance * before * count / total;
    }
  }
}

void row_moments(const void* context, int64_t row, int64_t) {
  const Moments& s = *(const Moments*)context;
  double *mean = s.mean + row * s.channels, *m2 = s.m2 + row * s.channels;
  for (int64_t i = 0; i < s.channels; i++) mean[i] = m2[i] = 0;
  typed(s.type, [&](auto is) {
    constexpr Type T = decltype(is)::type;
    for (int64_t x = 0; x < s.width; x += SEGMENT) {
      const char* in = (const char*)s.in + (row * s.width + x) * s.channels * size_of(T);
      segment_moments<T>(s, in, least(SEGMENT, s.width - x), x, mean, m2);
    }
  });
}

void gather_moments(const Moments& s) { parallel(s.rows, s.threads, row_moments, &s); }

}  // namespace
