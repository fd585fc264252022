// Weights in the order the kernels read them: block of outputs, tap, pair (or more) of channels, output.
#pragma once

#include "micro.h"

namespace {

constexpr int64_t GROUP = DEPTH > 1 ? 2 : 1;  // bfloat16 is multiplied in pairs
constexpr int64_t CHUNK = 256;

// Numbers of one output, `count` of them from `first` on, into their places among those of other outputs.
inline void spread(const Number* line, int64_t first, int64_t count, int64_t output, int64_t outputs, Number* to) {
  to += first * outputs + output * GROUP;
  for (int64_t i = 0; i < count; i += GROUP, to += outputs * GROUP) memcpy(to, line + i, GROUP * sizeof(Number));
}

// Which taps of 3 a folded one sums up: output pixel 2i + a reads rows i - 1 + a and i + a of the small map, so for
// a = 0 they are 0, and 1 + 2; for a = 1 they are 0 + 1, and 2.
struct Taps {
  int64_t first, last;
  Taps(int64_t a, int64_t half) : first(half == 0 ? 0 : 1 + a), last(half == 0 ? a : 2) {}
  explicit Taps(int64_t tap) : first(tap), last(tap) {}
};

template <Type T>
void pack_block(const Pack& p, int64_t phase, int64_t first) {
  const int64_t size = p.upsample ? 2 : p.kernel, depth = round_up(p.inputs, DEPTH);
  const int64_t outputs = p.outputs - first > LANES ? OUTPUTS : LANES;
  Number* to = (Number*)p.packed + (phase * round_up(p.outputs, LANES) + first) * size * size * depth;
  Number line[CHUNK + LANES];
  for (int64_t tap = 0; tap < size * size; tap++, to += depth * outputs) {
    const Taps rows = p.upsample ? Taps(phase / 2, tap / 2) : Taps(tap / size);
    const Taps columns = p.upsample ? Taps(phase % 2, tap % 2) : Taps(tap % size);
    for (int64_t o = 0; o < outputs; o++)
      for (int64_t chunk = 0; chunk < depth; chunk += CHUNK) {
        const int64_t count = least(CHUNK, depth - chunk);
        for (int64_t i = 0; i < count; i += LANES) {
          V sum{};
          const int64_t left = p.inputs - chunk - i;
          if (first + o < p.outputs && left > 0)
            for (int64_t row = rows.first; row <= rows.last; row++)
              for (int64_t column = columns.first; column <= columns.last; column++) {
                const int64_t at = (((first + o) * p.kernel + row) * p.kernel + column) * p.inputs + chunk + i;
                sum += load_some<T>((const char*)p.weights + at * size_of(T), left);
              }
          store<NUMBER>(line + i, sum);
        }
        spread(line, chunk, count, o, outputs, to);
      }
  }
}

void pack_item(const void* context, int64_t item, int64_t) {
  const Pack& p = *(const Pack*)context;
  const int64_t blocks = (p.outputs + OUTPUTS - 1) / OUTPUTS;
  typed(p.type, [&](auto is) { pack_block<decltype(is)::type>(p, item / blocks, item % blocks * OUTPUTS); });
}

void pack_weights(const Pack& p) {
  parallel((p.outputs + OUTPUTS - 1) / OUTPUTS * (p.upsample ? 4 : 1), p.threads, pack_item, &p);
}

}  // namespace
