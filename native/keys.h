// Packs a block of keys and values. The first product has the keys as outputs, and the second sums over the keys.
#pragma once

#include <utility>

#include "pack.h"
#include "panel.h"

namespace {

constexpr int64_t SOFTMAX_KEYS = 256;  // keys between two updates of the softmax: a multiple of PANEL and DEPTH
constexpr int64_t UNIT = 4 / sizeof(Number);  // numbers in 32 bits, which are packed together
constexpr int64_t UNITS = GROUP / UNIT;       // that follow one another for each key or channel

// The packed keys: (panel of keys, group of channels, key, channel). The packed values, for each update of the softmax:
// (panel of channels, group of keys, channel, key).
struct Room {
  int64_t depth, width;  // channels padded as those of the first product, and as the outputs of the second
  Number *key, *value;

  explicit Room(const Attend& a) : depth(round_up(a.channels, DEPTH)), width(round_up(a.channels, PANEL)) {
    key = (Number*)aligned(a.packed);
    value = key + round_up(a.keys, PANEL) * depth;
  }
};

// The bits of LANES numbers of a row that has `left` more, as the kernels multiply them. Beyond them are zeros.
template <Type T>
inline U number_bits(const char* from, int64_t left) {
  if constexpr (T == NUMBER)
    if (left >= LANES) return bits_at<T>(from);
  return bits_of<NUMBER>(load_some<T>(from, left));
}

// Loads LANES units of a row that has `left` more numbers. Beyond them are zeros.
template <Type T>
inline U load_units(const char* from, int64_t left) {
  if (left <= 0) return U{};
  if constexpr (T == NUMBER || UNIT == 1) {
    if (left >= LANES * UNIT) {
      if constexpr (UNIT == 1) return (U)load<T>(from);
      U units;
      memcpy(&units, from, sizeof units);
      return units;
    }
  }
  Number line[LANES * UNIT];
  for (int64_t i = 0; i < UNIT; i++, from += LANES * size_of(T), left -= LANES)
    store<NUMBER>(line + i * LANES, left > 0 ? load_some<T>(from, left) : V{});
  U units;
  memcpy(&units, line, sizeof units);
  return units;
}

template <int HALF, class Vector, int... LANE>
inline Vector interleave(Vector a, Vector b, std::integer_sequence<int, LANE...>) {
  return Vector{(LANE % 2 ? b : a)[HALF * LANES / 2 + LANE / 2]...};
}

// Each step is a perfect shuffle of all rows, and log2(LANES) of them exchange rows and columns.
template <class Vector>
inline void transpose(Vector (&rows)[LANES]) {
  constexpr auto lanes = std::make_integer_sequence<int, LANES>{};
  for (int step = 1; step < LANES; step *= 2) {
    Vector next[LANES];
    for (int i = 0; i < LANES / 2; i++) {
      next[2 * i] = interleave<0>(rows[i], rows[i + LANES / 2], lanes);
      next[2 * i + 1] = interleave<1>(rows[i], rows[i + LANES / 2], lanes);
    }
    memcpy(rows, next, sizeof next);
  }
}

// Writes the groups of LANES keys or channels.
inline void put_groups(const U* units, Number* to) {
  if constexpr (UNITS == 1) {
    memcpy(to, units, sizeof *units);
  } else {
    constexpr auto lanes = std::make_integer_sequence<int, LANES>{};
    const U both[2] = {interleave<0>(units[0], units[1], lanes), interleave<1>(units[0], units[1], lanes)};
    memcpy(to, both, sizeof both);
  }
}

// Packs LANES keys, which are in one panel.
template <Type T>
void pack_keys(const Attend& a, const Room& room, int64_t first) {
  Number* to = room.key + first / PANEL * PANEL * room.depth + first % PANEL * GROUP;
  for (int64_t c = 0; c < room.depth; c += LANES * UNIT) {
    U units[LANES];
    for (int64_t k = 0; k < LANES; k++) {
      const char* from = (const char*)a.block + ((first + k) * 2 * a.channels + c) * size_of(T);
      __builtin_prefetch(from + 128);  // rows are too far apart for the hardware to see what comes next
      units[k] = load_units<T>(from, first + k < a.keys ? a.channels - c : 0);
    }
    transpose(units);
    for (int64_t i = 0; i < least(LANES, (room.depth - c) / UNIT); i += UNITS, to += PANEL * GROUP) put_groups(units + i, to);
  }
}

// Packs the values for one update of the softmax.
template <Type T>
void pack_values(const Attend& a, const Room& room, int64_t first) {
  const int64_t count = round_up(least(SOFTMAX_KEYS, a.keys - first), DEPTH);
  for (int64_t k = 0; k < count; k += GROUP)
    for (int64_t c = 0; c < room.width; c += LANES) {
      U units[UNITS] = {};
      for (int64_t i = 0; i < GROUP; i++) {
        const char* from = (const char*)a.block + ((first + k + i) * 2 * a.channels + a.channels + c) * size_of(T);
        const int64_t left = first + k + i < a.keys ? a.channels - c : 0;
        if (left > 0) units[i / UNIT] |= number_bits<T>(from, left) << (int)(16 * (i % UNIT));
      }
      put_groups(units, room.value + first * room.width + c / PANEL * PANEL * count + k * PANEL + c % PANEL * GROUP);
    }
}

void pack_item_keys(const void* context, int64_t item, int64_t) {
  const Attend& a = *(const Attend*)context;
  const Room room(a);
  typed(a.type, [&](auto is) {
    constexpr Type T = decltype(is)::type;
    const int64_t first = item * SOFTMAX_KEYS;
    for (int64_t k = first; k < least(first + SOFTMAX_KEYS, round_up(a.keys, PANEL)); k += LANES) pack_keys<T>(a, room, k);
    pack_values<T>(a, room, first);
  });
}

}  // namespace
