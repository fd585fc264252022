// A case of the moments: mean and M2 of every channel of every row.
#pragma once

#include "case.h"
#include "check.h"

inline void run_moments(const Line& c, Check& check) {
  const int64_t rows = c["rows"], width = c["width"], channels = c["channels"];
  std::mt19937_64 generator(c["seed"]);
  std::normal_distribution<double> normal(c["mean"], 1);
  Numbers x(c["type"], rows * width * channels);
  for (int64_t i = 0; i < rows * width * channels; i++) x.set(i, normal(generator));
  Memory mean(rows * channels * 8), m2(rows * channels * 8);
  const Moments moments{c["type"], rows, width, channels, x.memory.data(), (double*)mean.data(), (double*)m2.data(), c["threads"]};
  check.library.moments(check.path, &moments);
  check.fenced("means", mean);
  check.fenced("squares", m2);
  for (int64_t i = 0; i < rows * channels; i++) {
    const double* first = &x.wide[i / channels * width * channels + i % channels];
    double sum = 0, squares = 0;
    for (int64_t j = 0; j < width; j++) sum += first[j * channels];
    const double exact = sum / width;
    for (int64_t j = 0; j < width; j++) squares += (first[j * channels] - exact) * (first[j * channels] - exact);
    check.near("mean", i, moments.mean[i], exact, 1e-6 * (1 + fabs(exact)));
    check.near("sum of squares", i, moments.m2[i], squares, 1e-5 * squares + 1e-8);
  }
}
