// What comes before a convolution: its norm and its activation, pixel by pixel.
#pragma once

#include <cmath>

#include "vectors.h"

namespace {

template <Type T>
struct StoredAs {
  typedef uint16_t type;
};
template <>
struct StoredAs<F32> {
  typedef float type;
};
template <Type T>
using Stored = typename StoredAs<T>::type;

enum Norm { NONE, AFFINE, RMS };
enum Activation : int64_t { PLAIN = 0, SILU = 1, RELU = 2 };

// Negative numbers become zeros; NaN stays.
inline V relu(V x) { return x < V{} ? V{} : x; }

// One over the length of a pixel's channels.
template <Type T>
inline float inverse_length(const Conv& c, const char* in, int64_t channels) {
  V squares{};
  for (int64_t i = 0; i < channels; i += LANES) {
    const V x = load_some<T>(in + i * size_of(T), channels - i);
    squares += x * x;
  }
  float sum = 0;
  for (int i = 0; i < LANES; i++) sum += squares[i];
  const float length = sqrtf(sum);
  return 1 / (length > c.rms ? length : c.rms);
}

// Normalises and activates one pixel, and stores it as type TO. Channels from `channels` to `padded` are zeros.
template <Type TO, Type T, Norm NORM, Activation ACTIVATION>
inline void activate(const Conv& c, const char* in, Stored<TO>* out, int64_t channels, int64_t padded) {
  const float inverse = NORM == RMS ? inverse_length<T>(c, in, channels) : 1;
  for (int64_t i = 0; i < padded; i += LANES) {
    const int64_t count = channels - i;
    if (count <= 0) {
      store_some<TO>(out + i, V{}, padded - i);
      continue;
    }
    V x = load_some<T>(in + i * size_of(T), count);
    if (NORM == RMS) x = x * inverse * load_some<F32>(c.scale + i, count);
    if (NORM == AFFINE) x = (x - load_some<F32>(c.mean + i, count)) * load_some<F32>(c.scale + i, count) + load_some<F32>(c.shift + i, count);
    if (ACTIVATION == SILU) x = silu(x);
    if (ACTIVATION == RELU) x = relu(x);
    if (count < LANES)
      for (int64_t j = count; j < LANES; j++) x[j] = 0;
    store_some<TO>(out + i, x, padded - i);
  }
}

// Activates `columns` pixels of a row, from column `left` on, each `pitch` numbers from the last. Pixels outside the map
// are zeros.
template <Type TO, Norm NORM, Activation ACTIVATION>
void activate_row(const Conv& c, int64_t type, const void* in, int64_t channels, int64_t width, int64_t left,
                  int64_t columns, Stored<TO>* out, int64_t padded, int64_t pitch) {
  typed(type, [&](auto is) {
    constexpr Type T = decltype(is)::type;
    for (int64_t x = left; x < left + columns; x++, out += pitch) {
      if (in == nullptr || x < 0 || x >= width)
        memset(out, 0, padded * size_of(TO));
      else
        activate<TO, T, NORM, ACTIVATION>(c, (const char*)in + x * channels * size_of(T), out, channels, padded);
    }
  });
}

template <Type TO>
using RowActivation = decltype(&activate_row<TO, NONE, PLAIN>);

template <Type TO, Norm NORM>
inline RowActivation<TO> with_norm(int64_t activation) {
  if (activation == SILU) return activate_row<TO, NORM, SILU>;
  return activation == RELU ? activate_row<TO, NORM, RELU> : activate_row<TO, NORM, PLAIN>;
}

// How the rows that a convolution reads are normalised and activated.
template <Type TO>
inline RowActivation<TO> activation_of(const Conv& c) {
  if (c.scale) return c.rms > 0 ? with_norm<TO, RMS>(c.activation) : with_norm<TO, AFFINE>(c.activation);
  return c.activation == RELU ? activate_row<TO, NONE, RELU> : activate_row<TO, NONE, PLAIN>;
}

}  // namespace
