// Packs weights in the order that the kernels read: block of outputs, tap, group of GROUP channels, output, channel.
#pragma once

#include "pack_squares.h"

namespace {

constexpr int64_t GROUP = DEPTH > 4 ? 2 : DEPTH;  // bfloat16 is multiplied in pairs, or in fours
constexpr int64_t CHUNK = 256;

// Writes `count` channels of one output, from channel `first` on, between the channels of the block's other outputs.
inline void spread(const Number* line, int64_t first, int64_t count, int64_t output, int64_t outputs, Number* to) {
  to += first * outputs + output * GROUP;
  for (int64_t i = 0; i < count; i += GROUP, to += outputs * GROUP) memcpy(to, line + i, GROUP * sizeof(Number));
}

// The taps (of 3 in one direction) that are summed into one packed tap. If upsampling is folded, output pixel 2i + a
// reads rows i - 1 + a and i + a of the small map. So for a = 0 the two sums are tap 0 and taps 1 + 2. For a = 1 they
// are taps 0 + 1 and tap 2.
struct Taps {
  int64_t first, last;
  Taps(int64_t tap) : first(tap), last(tap) {}
  Taps(int64_t from, int64_t to) : first(from), last(to) {}
  static Taps folded(int64_t a, int64_t half) { return {half == 0 ? 0 : 1 + a, half == 0 ? a : 2}; }
};

// The kernel's rows and columns that are summed into one packed number.
struct Tap {
  Taps rows, columns;

  Tap(const Pack& p, int64_t phase, int64_t tap) : rows(tap / p.kernel), columns(tap % p.kernel) {
    if (p.upsample) {
      rows = Taps::folded(phase / 2, tap / 2), columns = Taps::folded(phase % 2, tap % 2);
    }
  }
};

// The number of kernels in the packed weights, and of taps in each kernel.
template <class Operation>
int64_t phases_of(const Operation& o) {
  return o.upsample ? 4 : 1;
}
template <class Operation>
int64_t taps_of(const Operation& o) {
  return o.upsample ? 4 : o.kernel * o.kernel;
}

template <Type T>
uint32_t pack_block(const Pack& p, int64_t phase, int64_t first) {
  const int64_t taps = taps_of(p), depth = round_up(p.inputs, DEPTH);
  const int64_t outputs = least(OUTPUTS, round_up(p.outputs - first, LANES));
  Number* to = (Number*)p.packed + (phase * round_up(p.outputs, LANES) + first) * taps * depth;
  Number line[CHUNK + LANES];
  BitSum written;
  for (int64_t t = 0; t < taps; t++, to += depth * outputs) {
    const Tap tap(p, phase, t);
    for (int64_t o = 0; o < outputs; o++)
      for (int64_t chunk = 0; chunk < depth; chunk += CHUNK) {
        const int64_t count = least(CHUNK, depth - chunk);
        for (int64_t i = 0; i < count; i += LANES) {
          V sum{};
          const int64_t left = p.inputs - chunk - i;
          if (first + o < p.outputs && left > 0)
            for (int64_t row = tap.rows.first; row <= tap.rows.last; row++)
              for (int64_t column = tap.columns.first; column <= tap.columns.last; column++) {
                const int64_t at = (((first + o) * p.kernel + row) * p.kernel + column) * p.inputs + chunk + i;
                sum += load_some<T>((const char*)p.weights + at * size_of(T), left);
              }
          const U bits = bits_of<NUMBER>(sum);
          store_bits<NUMBER>(line + i, bits);
          written.add(bits, count - i);
        }
        spread(line, chunk, count, o, outputs, to);
      }
  }
  return written.total();
}

void pack_item(const void* context, int64_t item, int64_t) {
  const Pack& p = *(const Pack*)context;
  const int64_t blocks = blocks_of(p.outputs);
  typed(p.type, [&](auto is) { p.sums[item] = pack_block<decltype(is)::type>(p, item / blocks, item % blocks * OUTPUTS); });
}

void pack_weights(const Pack& p) {
#if !defined(ZVAE_AMX)
  if (p.squares)
    return parallel(blocks_of(p.outputs), p.threads, p.upsample ? pack_squares<Doubled> : pack_squares<Four>, &p);
#endif
  parallel(blocks_of(p.outputs) * phases_of(p), p.threads, pack_item, &p);
}

}  // namespace
