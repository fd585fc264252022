// A convolution in float64, by its definition: norm, activation, doubling, taps, bias, skip.
#pragma once

#include "case.h"
#include "numbers.h"

// What a convolution reads.
struct Inputs {
  Numbers x, weights, scale, shift, mean, bias, skip, shortcut;
};

// The result in float64. `bare` has neither bias nor skip. The sizes are the sums of magnitudes of all terms.
struct Exact {
  std::vector<double> total, size, bare, bare_size;
};

inline double activated64(double x, int64_t activation) {
  if (activation == 1) return x / (1 + exp(-x));
  return activation == 2 && x < 0 ? 0 : x;
}

inline std::vector<double> read64(const Line& c, const Inputs& in) {
  const int64_t channels = c["inputs"];
  std::vector<double> map = in.x.wide;
  for (size_t pixel = 0; pixel < map.size(); pixel += channels) {
    double squares = 0;
    for (int64_t i = 0; i < channels; i++) squares += map[pixel + i] * map[pixel + i];
    const double length = c["norm"] == 2 ? fmax(sqrt(squares), 1e-12) : 1;
    for (int64_t i = 0; i < channels; i++) {
      double& x = map[pixel + i];
      if (c["norm"]) x = (std::isnan(squares) && c["norm"] == 2 ? NAN : x / length - in.mean.wide[i]) * in.scale.wide[i] + in.shift.wide[i];
      x = activated64(x, c["activation"]);
    }
  }
  return map;
}

inline double skipped64(const Line& c, const Inputs& in, int64_t pixel, int64_t output, double& size) {
  if (!c["skip"]) return 0;
  const int64_t inputs = c["skip_inputs"];
  if (!inputs) {
    const double x = in.skip.wide[pixel * c["outputs"] + output];
    return c["skip_relu"] && x < 0 ? 0 : x;
  }
  double sum = 0;
  for (int64_t i = 0; i < inputs; i++) {
    const double term = in.skip.wide[pixel * inputs + i] * in.shortcut.wide[output * inputs + i];
    sum += term, size += fabs(term);
  }
  return sum;
}

inline Exact conv64(const Line& c, const Inputs& in) {
  const int64_t kernel = c["kernel"], inputs = c["inputs"], outputs = c["outputs"], stride = c["stride"];
  const int64_t grown = c["upsample"] ? 2 : 1, height = c["in_height"] * grown, width = c["in_width"] * grown;
  const int64_t rows = c["rows"] * grown, columns = c["width"] * grown, above = c["above"], left = c["left"];
  const std::vector<double> map = read64(c, in);
  Exact exact;
  for (int64_t y = 0; y < rows; y++)
    for (int64_t x = 0; x < columns; x++)
      for (int64_t o = 0; o < outputs; o++) {
        double sum = 0, size = 0;
        for (int64_t i = 0; i < kernel; i++)
          for (int64_t j = 0; j < kernel; j++) {
            const int64_t row = y * stride + i - above, column = x * stride + j - left;
            if (row < 0 || row >= height || column < 0 || column >= width) continue;
            const double* from = &map[(row / grown * c["in_width"] + column / grown) * inputs];
            const double* by = &in.weights.wide[((o * kernel + i) * kernel + j) * inputs];
            for (int64_t k = 0; k < inputs; k++) sum += from[k] * by[k], size += fabs(from[k] * by[k]);
          }
        exact.bare.push_back(sum), exact.bare_size.push_back(size);
        const double aside = skipped64(c, in, y * columns + x, o, size);
        exact.total.push_back(sum + in.bias.wide[o] + aside);
        exact.size.push_back(size + fabs(in.bias.wide[o]));
      }
  return exact;
}
