// Attention to one block of keys, with an online softmax. A thread computes ASKED queries, SOFTMAX_KEYS keys at a time.
#pragma once

#include <cmath>

#include "pack.h"

namespace {

constexpr int64_t ASKED = 4 * PIXELS > 64 ? 64 : 4 * PIXELS;  // queries that a thread computes at a time
constexpr int64_t SOFTMAX_KEYS = 256;                         // keys between two updates of the softmax

// The packed keys and values. The first product has the keys as outputs, and the second product sums over the keys.
struct Room {
  int64_t keys;  // padded to a multiple of LANES
  Number *key, *value;

  explicit Room(const Attend& a) {
    keys = round_up(a.keys, LANES);
    key = (Number*)aligned(a.packed);
    value = key + keys * round_up(a.channels, DEPTH);  // values of a multiple of DEPTH keys
  }
};

// Packs a block of keys, the outputs of the first product: (block of keys, channel, key).
template <Type T>
void pack_keys(const Attend& a, const Room& room, int64_t first) {
  const int64_t depth = round_up(a.channels, DEPTH), keys = room.keys - first > LANES ? OUTPUTS : LANES;
  Number* to = room.key + first * depth;
  Number line[CHUNK + LANES];
  for (int64_t k = 0; k < keys; k++)
    for (int64_t chunk = 0; chunk < depth; chunk += CHUNK) {
      const int64_t count = least(CHUNK, depth - chunk);
      for (int64_t i = 0; i < count; i += LANES) {
        const int64_t left = first + k < a.keys ? a.channels - chunk - i : 0;
        const char* from = (const char*)a.block + ((first + k) * 2 * a.channels + chunk + i) * size_of(T);
        store<NUMBER>(line + i, left > 0 ? load_some<T>(from, left) : V{});
      }
      spread(line, chunk, count, k, keys, to);
    }
}

// Packs the values for one update of the softmax: (block of channels, key, channel).
template <Type T>
void pack_values(const Attend& a, const Room& room, int64_t first) {
  const int64_t count = round_up(least(SOFTMAX_KEYS, a.keys - first), DEPTH);
  Number* to = room.value + first * round_up(a.channels, LANES);
  Number line[LANES];
  for (int64_t c = 0; c < a.channels; c += OUTPUTS) {
    const int64_t outputs = a.channels - c > LANES ? OUTPUTS : LANES;
    for (int64_t k = 0; k < count; k++)
      for (int64_t o = 0; o < outputs; o += LANES) {
        const int64_t left = first + k < a.keys ? a.channels - c - o : 0;
        const char* from = (const char*)a.block + ((first + k) * 2 * a.channels + a.channels + c + o) * size_of(T);
        store<NUMBER>(line, left > 0 ? load_some<T>(from, left) : V{});
        Number* place = to + (k / GROUP * outputs + o) * GROUP + k % GROUP;
        for (int64_t i = 0; i < LANES; i++) place[i * GROUP] = line[i];
      }
    to += count * outputs;
  }
}

void pack_item_keys(const void* context, int64_t item, int64_t) {
  const Attend& a = *(const Attend*)context;
  const Room room(a);
  typed(a.type, [&](auto is) {
    constexpr Type T = decltype(is)::type;
    const int64_t first = item * SOFTMAX_KEYS;
    for (int64_t k = first; k < least(first + SOFTMAX_KEYS, a.keys); k += OUTPUTS) pack_keys<T>(a, room, k);
    pack_values<T>(a, room, first);
  });
}

// Replaces scores with weights, and updates top and weight. Returns the factor for the totals of all earlier keys.
float soften(float* scores, int64_t count, float& top, float& weight) {
  V most = splat(-INFINITY);
  for (int64_t k = 0; k < count; k += LANES) {
    V x = load<F32>(scores + k);
    if (count - k < LANES)
      for (int64_t j = count - k; j < LANES; j++) x[j] = -INFINITY;
    most = select(x > most, x, most);
  }
  const float before = top, after = largest(most);
  top = after > before ? after : before;
  V sum{};
  for (int64_t k = 0; k < count; k += LANES) {
    V x = exp_of(load<F32>(scores + k) - top);
    if (count - k < LANES)
      for (int64_t j = count - k; j < LANES; j++) x[j] = 0;
    store<F32>(scores + k, x);
    sum += x;
  }
  float all = 0;
  for (int i = 0; i < LANES; i++) all += sum[i];
  const float fade = exp_of(splat(before - top))[0];
  weight = weight * fade + all;
  return fade;
}

struct Asking {
  const Attend& a;
  Room room;
  int64_t first, count;
  Number *query, *chance;  // in scratch: scaled queries, and weights of the keys
  float *scores, *fade;
  BitSum written;

  static constexpr int64_t LINE = SOFTMAX_KEYS + OUTPUTS;

  Asking(const Attend& attend, int64_t item, int64_t thread) : a(attend), room(attend) {
    first = item * ASKED, count = least(ASKED, a.queries - first);
    query = (Number*)aligned((char*)a.scratch + thread * a.scratch_bytes);
    chance = query + (ASKED + PIXELS) * pitch_of(a.channels);
    scores = (float*)(chance + (ASKED + PIXELS) * pitch_of(SOFTMAX_KEYS));
    fade = scores + ASKED * LINE;
  }

  void read() {
    const int64_t padded = round_up(a.channels, DEPTH);
    for (int64_t q = 0; q < count; q++) {
      Number* to = query + q * pitch_of(a.channels);
      for (int64_t i = 0; i < padded; i += LANES)
        store_some<NUMBER>(to + i, load_channels(q, i) * a.scale, padded - i);
    }
  }

  V load_channels(int64_t q, int64_t i) const {
    return i < a.channels ? load_some<F32>(a.query + (first + q) * a.channels + i, a.channels - i) : V{};
  }

  Source<Number> source(const Number* from, int64_t depth, int64_t pitch) const {
    Source<Number> found;
    found.taps[0] = from, found.count = 1, found.depth = depth, found.pitch = pitch;
    return found;
  }

  void score(int64_t key, int64_t keys) {
    alignas(64) float sums[PIXELS * OUTPUTS];
    const int64_t depth = round_up(a.channels, DEPTH), pitch = pitch_of(a.channels);
    for (int64_t k = 0; k < keys; k += OUTPUTS)
      for (int64_t q = 0; q < count; q += PIXELS) {
        const int64_t pixels = least(PIXELS, count - q), outputs = least(OUTPUTS, room.keys - key - k);
        multiply(pixels, outputs, source(query + q * pitch, depth, pitch), room.key + (key + k) * depth, sums, true);
        for (int64_t m = 0; m < pixels; m++)
          for (int64_t i = 0; i < outputs; i += LANES) store<F32>(scores + (q + m) * LINE + k + i, load<F32>(sums + m * OUTPUTS + i));
      }
  }

  void weigh(int64_t keys) {
    const int64_t padded = round_up(keys, DEPTH);
    written = {};  // these keys overwrite the results of earlier keys
    for (int64_t q = 0; q < count; q++) {
      float *line = scores + q * LINE, top = a.top[first + q], weight = a.weight[first + q];
      fade[q] = soften(line, keys, top, weight);
      a.top[first + q] = top, a.weight[first + q] = weight;
      written.add((U)splat(top), 1);
      written.add((U)splat(weight), 1);
      Number* to = chance + q * pitch_of(SOFTMAX_KEYS);
      for (int64_t k = 0; k < padded; k += LANES) store_some<NUMBER>(to + k, k < keys ? load<F32>(line + k) : V{}, padded - k);
    }
  }

  void sum(int64_t key, int64_t keys) {
    alignas(64) float sums[PIXELS * OUTPUTS];
    const int64_t depth = round_up(keys, DEPTH), pitch = pitch_of(SOFTMAX_KEYS);
    const Number* values = room.value + key * round_up(a.channels, LANES);
    for (int64_t c = 0; c < a.channels; c += OUTPUTS) {
      const int64_t outputs = least(OUTPUTS, a.channels - c);
      for (int64_t q = 0; q < count; q += PIXELS) {
        const int64_t pixels = least(PIXELS, count - q);
        multiply(pixels, outputs, source(chance + q * pitch, depth, pitch), values + c * depth, sums, true);
        for (int64_t m = 0; m < pixels; m++) {
          float* total = a.total + (first + q + m) * a.channels + c;
          for (int64_t i = 0; i < outputs; i += LANES) {
            const V x = load_some<F32>(total + i, outputs - i) * fade[q + m] + load<F32>(sums + m * OUTPUTS + i);
            written.add((U)x, outputs - i);
            store_some<F32>(total + i, x, outputs - i);
          }
        }
      }
    }
  }
};

void ask(const void* context, int64_t item, int64_t thread) {
  Asking asking(*(const Attend*)context, item, thread);
  asking.read();
  begin_tiles();
  for (int64_t key = 0; key < asking.a.keys; key += SOFTMAX_KEYS) {
    const int64_t keys = least(SOFTMAX_KEYS, asking.a.keys - key);
    asking.score(key, keys);
    asking.weigh(keys);
    asking.sum(key, keys);
  }
  end_tiles();
  asking.a.sums[item] = asking.written.total();
}

void attend_block(const Attend& a) {
  parallel((a.keys + SOFTMAX_KEYS - 1) / SOFTMAX_KEYS, a.threads, pack_item_keys, &a);
  parallel((a.queries + ASKED - 1) / ASKED, a.threads, ask, &a);
}

}  // namespace
