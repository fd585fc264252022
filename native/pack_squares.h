// Packs the weights of squares: a kernel's nine taps become the weights of all products (scheme.h), in float64 if they
// stay float32. Rounding to int16 is coarser than float32.
//
// A block of outputs holds, for each product, its outputs' scales if weights are int16, then its weights: group of PAIR
// channels, output, channel.
#pragma once

#include "squares.h"

namespace {

#if defined(ZVAE_I16)
typedef V Wide;
inline Wide widened(V x) { return x; }
inline V narrowed(Wide x) { return x; }
#else
typedef double Wide __attribute__((vector_size(LANES * 8)));
inline Wide widened(V x) { return __builtin_convertvector(x, Wide); }
inline V narrowed(Wide x) { return __builtin_convertvector(x, V); }
#endif

// What reading back a 32-bit word of packed weights adds to the sum of bits (readback.h).
inline uint32_t bits_of_word(uint32_t word) {
  return sizeof(Number) == 2 ? (word & 0xffff) + (word >> 16) : word + (word >> 16);
}

template <class S>
struct SquarePacker {
  static constexpr int64_t PRODUCTS = S::PRODUCTS * S::PRODUCTS, CHANNELS = 2 * LANES;  // channels at a time

  const Pack& p;
  const int64_t first;  // output
  const Packed<S> block;
  uint32_t written = 0;
  float scales[OUTPUTS][PRODUCTS];
  alignas(64) Small lines[PRODUCTS][OUTPUTS][CHANNELS];

  SquarePacker(const Pack& pack, int64_t item)
      : p(pack), first(item * OUTPUTS), block(p.packed, p.inputs, p.outputs, first) {}

  // The weights of all products for LANES channels of an output. Those beyond the last input or output are zeros.
  template <Type T>
  void transform(int64_t output, int64_t channel, Wide (&out)[PRODUCTS]) const {
    Wide half[3][S::PRODUCTS];
    for (int64_t x = 0; x < 3; x++) {
      Wide taps[3];
      for (int64_t y = 0; y < 3; y++) {
        const int64_t at = (((first + output) * 3 + y) * 3 + x) * p.inputs + channel;
        taps[y] = widened(first + output < p.outputs ? load_some<T>((const char*)p.weights + at * size_of(T), p.inputs - channel) : V{});
      }
      S::share(taps, half[x]);
    }
    for (int64_t y = 0; y < S::PRODUCTS; y++) {
      const Wide taps[3] = {half[0][y], half[1][y], half[2][y]};
      S::share(taps, out + y * S::PRODUCTS);
    }
  }

#if defined(ZVAE_I16)
  // Finds the scale of each product of an output: int16 holds every weight, and their norm is at most WEIGHTS_NORM.
  template <Type T>
  void measure(int64_t output) {
    V most[PRODUCTS] = {};
    V square[PRODUCTS] = {};
    for (int64_t i = 0; i < p.inputs; i += LANES) {
      Wide out[PRODUCTS];
      transform<T>(output, i, out);
      for (int64_t n = 0; n < PRODUCTS; n++) {
        const V x = narrowed(out[n]);
        most[n] = greater(x < V{} ? -x : x, most[n]);
        square[n] += x * x;
      }
    }
    for (int64_t n = 0; n < PRODUCTS; n++) {
      double sum = 0;
      for (int64_t i = 0; i < LANES; i++) sum += square[n][i];
      const double top = largest(most[n]), norm = sqrt(sum);
      double scale = top > 0 ? 32767 / top : 1;
      if (norm > 0 && WEIGHTS_NORM / norm < scale) scale = WEIGHTS_NORM / norm;
      if (scale > LARGEST_SCALE) scale = LARGEST_SCALE;
      scales[output][n] = scale;
      const float share = norm - norm == 0 ? 1 / scale : NAN;  // int16 has no NaN, and would hold 0
      uint32_t word;
      memcpy(&word, &share, 4);
      block.shares(n)[output] = share;
      written += bits_of_word(word);
    }
  }
#endif

  template <Type T>
  void fill(int64_t channel) {
    for (int64_t output = 0; output < block.outputs; output++)
      for (int64_t i = 0; i < least(CHANNELS, p.inputs - channel); i += LANES) {
        Wide out[PRODUCTS];
        transform<T>(output, channel + i, out);
        for (int64_t n = 0; n < PRODUCTS; n++) {
          const V x = narrowed(out[n]);
#if defined(ZVAE_I16)
          const __m512i whole = _mm512_cvtps_epi32((__m512)(x * scales[output][n]));
          _mm256_storeu_si256((__m256i*)&lines[n][output][i], _mm512_cvtepi32_epi16(whole));
#else
          store<F32>(&lines[n][output][i], x);
#endif
        }
      }
  }

  void spread(int64_t channel) {
    for (int64_t n = 0; n < PRODUCTS; n++) {
      char* to = (char*)(block.weights(n) + channel * block.outputs);
      for (int64_t i = 0; i < least(CHANNELS, block.depth - channel); i += PAIR)
        for (int64_t output = 0; output < block.outputs; output++, to += 4) {
          uint32_t word;
          memcpy(&word, &lines[n][output][i], 4);
          memcpy(to, &word, 4);
          written += bits_of_word(word);
        }
    }
  }

  template <Type T>
  void pack() {
#if defined(ZVAE_I16)
    for (int64_t output = 0; output < block.outputs; output++) measure<T>(output);
#endif
    for (int64_t channel = 0; channel < p.inputs; channel += CHANNELS) {
      fill<T>(channel);
      spread(channel);
    }
  }
};

template <class S>
void pack_squares(const void* context, int64_t item, int64_t) {
  const Pack& p = *(const Pack*)context;
  SquarePacker<S> packer(p, item);
  typed(p.type, [&](auto is) { packer.template pack<decltype(is)::type>(); });
  p.sums[item] = packer.written;
}

}  // namespace
