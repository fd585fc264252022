// Attention to one block of keys, with an online softmax. A thread computes ASKED queries, SOFTMAX_KEYS keys at a time.
#pragma once

#include "softmax.h"

namespace {

constexpr int64_t ASKED = 64;  // queries that a thread computes at a time
static_assert(ASKED % LANES == 0, "tops and weights are vectors of queries");

struct Asking {
  const Attend& a;
  Room room;
  int64_t first, count;
  Number *query, *chance;  // in scratch: scaled queries, and weights of the keys
  float *scores, *most, *fade;  // most: the greatest score in each lane
  BitSum written;

  static constexpr int64_t LINE = SOFTMAX_KEYS + LANES;

  Asking(const Attend& attend, int64_t item, int64_t thread) : a(attend), room(attend) {
    first = item * ASKED, count = least(ASKED, a.queries - first);
    query = (Number*)aligned((char*)a.scratch + thread * a.scratch_bytes);
    chance = query + (ASKED + ROWS) * pitch_of(a.channels);
    scores = (float*)(chance + (ASKED + ROWS) * pitch_of(SOFTMAX_KEYS));
    most = scores + ASKED * LINE;
    fade = most + ASKED * LANES;
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

  void score(int64_t key, int64_t keys) {
    const int64_t pitch = pitch_of(a.channels);
    for (int64_t i = 0; i < count * LANES; i += LANES) store<F32>(most + i, splat(-INFINITY));
    for (int64_t k = 0; k < keys; k += PANEL)
      for (int64_t q = 0; q < count; q += ROWS) {
        const Product product{least(ROWS, count - q), query + q * pitch, pitch, room.key + (key + k) * room.depth, room.depth};
        float *to = scores + q * LINE + k, *tops = most + q * LANES;
        if (keys - k >= PANEL) {
          product.run([to, tops](int64_t m, V (&row)[WIDE]) IN_REGISTERS {
            V top = load<F32>(tops + m * LANES);
            for (int n = 0; n < WIDE; n++) {
              top = greater(row[n], top);
              store<F32>(to + m * LINE + n * LANES, row[n]);
            }
            store<F32>(tops + m * LANES, top);
          });
        } else {
          product.each([&](int64_t m, int64_t i, V sums) {
            const V x = first_of(sums, keys - k - i);
            store<F32>(to + m * LINE + i, x);
            store<F32>(tops + m * LANES, greater(x, load<F32>(tops + m * LANES)));
          });
        }
      }
  }

  void weigh(int64_t keys) {
    written = {};  // these keys overwrite the results of earlier keys
    for (int64_t q = 0; q < count; q += LANES) {
      const int64_t queries = least(LANES, count - q);
      float *tops = a.top + first + q, *weights = a.weight + first + q;
      V rows[LANES];
      for (int i = 0; i < LANES; i++) rows[i] = load<F32>(most + (q + i) * LANES);
      const V before = load_some<F32>(tops, queries);
      const V top = greater(reduce(rows, [](V a, V b) { return greater(a, b); }), before);
      const V faded = exp_of(before - top);
      for (int i = 0; i < queries; i++)
        rows[i] = soften(scores + (q + i) * LINE, round_up(keys, PANEL), top[i], chance + (q + i) * pitch_of(SOFTMAX_KEYS));
      const V weight = load_some<F32>(weights, queries) * faded + reduce(rows, [](V a, V b) { return a + b; });
      written.add((U)top, queries);
      written.add((U)weight, queries);
      store<F32>(fade + q, faded);
      store_some<F32>(tops, top, queries);
      store_some<F32>(weights, weight, queries);
    }
  }

  void sum(int64_t key, int64_t keys) {
    const int64_t depth = round_up(keys, DEPTH), pitch = pitch_of(SOFTMAX_KEYS), channels = a.channels;
    const bool last = key + keys == a.keys;
    for (int64_t c = 0; c < channels; c += PANEL)
      for (int64_t q = 0; q < count; q += ROWS) {
        const Number* values = room.value + key * room.width + c * depth;
        const Product product{least(ROWS, count - q), chance + q * pitch, pitch, values, depth};
        float *total = a.total + (first + q) * channels + c, *fades = fade + q;
        if (channels - c >= PANEL) {
          product.run([=](int64_t m, V (&row)[WIDE]) IN_REGISTERS {
            float* to = total + m * channels;
            const V faded = splat(fades[m]);
            for (int n = 0; n < WIDE; n++) {
              const V x = load<F32>(to + n * LANES) * faded + row[n];
              if (last) written.add((U)x);
              store<F32>(to + n * LANES, x);
            }
          });
        } else {
          product.each([&](int64_t m, int64_t i, V sums) {
            const int64_t left = channels - c - i;
            if (left <= 0) return;
            float* to = total + m * channels + i;
            const V x = load_some<F32>(to, left) * splat(fades[m]) + sums;
            if (last) written.add((U)x, left);
            store_some<F32>(to, x, left);
          });
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
