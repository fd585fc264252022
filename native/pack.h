// Weights in the order the kernels read them: block of outputs, tap, pair (or more) of channels, output.
#pragma once

#include "micro.h"

namespace {

// A weight as a float; upsampling folds taps that read the same pixel of the small map, in float32.
template <Type T>
float weight_at(const Pack& p, int64_t output, int64_t phase, int64_t tap, int64_t input) {
  const auto at = [&](int64_t row, int64_t column) {
    const int64_t i = ((output * p.kernel + row) * p.kernel + column) * p.inputs + input;
    return load_some<T>((const char*)p.weights + i * size_of(T), 1)[0];
  };
  if (!p.upsample) return at(tap / p.kernel, tap % p.kernel);
  // Output pixel 2i + a reads the small map's rows i - 1 + a and i + a: taps 0, 1 + 2 for a = 0, and 0 + 1, 2 for a = 1.
  const auto first = [](int64_t a, int64_t half) { return half == 0 ? 0 : 1 + a; };
  const auto last = [](int64_t a, int64_t half) { return half == 0 ? a : 2; };
  float sum = 0;
  for (int64_t row = first(phase / 2, tap / 2); row <= last(phase / 2, tap / 2); row++)
    for (int64_t column = first(phase % 2, tap % 2); column <= last(phase % 2, tap % 2); column++) sum += at(row, column);
  return sum;
}

template <Type T>
void pack_block(const Pack& p, int64_t phase, int64_t first) {
  const int64_t taps = p.upsample ? 4 : p.kernel * p.kernel, depth = round_up(p.inputs, DEPTH);
  const int64_t outputs = p.outputs - first > LANES ? OUTPUTS : LANES;
  Number* to = (Number*)p.packed + (phase * round_up(p.outputs, LANES) + first) * taps * depth;
  const int64_t group = DEPTH > 1 ? 2 : 1;  // bfloat16 is multiplied in pairs
  for (int64_t tap = 0; tap < taps; tap++)
    for (int64_t i = 0; i < depth; i += group)
      for (int64_t o = first; o < first + outputs; o++)
        for (int64_t j = i; j < i + group; j++) {
          const float x = o < p.outputs && j < p.inputs ? weight_at<T>(p, o, phase, tap, j) : 0;
          store_some<NUMBER>(to++, splat(x), 1);
        }
}

void pack_item(const void* context, int64_t item, int64_t) {
  const Pack& p = *(const Pack*)context;
  const int64_t blocks = (p.outputs + OUTPUTS - 1) / OUTPUTS;
  typed(p.type, [&](auto is) { pack_block<decltype(is)::type>(p, item / blocks, item % blocks * OUTPUTS); });
}

void pack_weights(const Pack& p) { parallel((p.outputs + OUTPUTS - 1) / OUTPUTS * (p.upsample ? 4 : 1), pack_item, &p); }

}  // namespace
