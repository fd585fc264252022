// Vectors of floats with the vector extension of GCC and Clang: one source for AVX-512, AVX2, SSE and NEON.
#pragma once

#include <cstring>
#if defined(__F16C__) || defined(__AVX512F__)
#include <immintrin.h>
#endif
#if defined(ZVAE_NEON) && defined(__aarch64__)  // not in the x86-64 half of a universal library for macOS
#define NEON
#include <arm_neon.h>
#endif

#include "zvae.h"

namespace {

#if defined(__AVX512F__) || defined(ZVAE_AMX)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float V __attribute__((vector_size(LANES * 4)));
typedef float Unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t I __attribute__((vector_size(LANES * 4)));
typedef uint32_t U __attribute__((vector_size(LANES * 4)));
typedef uint16_t H __attribute__((vector_size(LANES * 2)));

constexpr int64_t size_of(Type type) { return type == F32 ? 4 : 2; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

inline V splat(float x) { return x - V{}; }  // with + it would not be a mere copy: -0 + 0 is 0
inline V select(I mask, V a, V b) { return (V)((mask & (I)a) | (~mask & (I)b)); }

inline float half_to_float(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, magnitude = (uint32_t)(h & 0x7fff) << 13, bits;
  float value;
  if ((h & 0x7c00) == 0x7c00) {
    bits = sign | 0x7f800000 | magnitude;
    memcpy(&value, &bits, 4);
    return value;
  }
  bits = magnitude;  // read as a float, it is too small by a factor of 2^112, subnormal or not
  memcpy(&value, &bits, 4);
  value *= 0x1p112f;
  memcpy(&bits, &value, 4);
  bits |= sign;
  memcpy(&value, &bits, 4);
  return value;
}

inline uint16_t float_to_half(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  uint16_t sign = (bits >> 16) & 0x8000;
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) return sign | 0x7e00;
  if (bits >= 0x477ff000) return sign | 0x7c00;  // 65,520 and more round to infinity
  if (bits < 0x38800000) {                       // subnormal: float addition rounds it to a multiple of 2^-24
    float magnitude;
    memcpy(&magnitude, &bits, 4);
    magnitude += 0.5f;
    memcpy(&bits, &magnitude, 4);
    return sign | (uint16_t)(bits - 0x3f000000);
  }
  bits += 0xfff + ((bits >> 13) & 1);
  return sign | (uint16_t)((bits - 0x38000000) >> 13);
}

inline U bf16_bits(V x) {
  U bits = (U)x;
  U rounded = bits + 0x7fff + ((bits >> 16) & 1);
  U quiet = bits | 0x400000;
  I nan = x != x;
  return (U)(((U)nan & quiet) | (~(U)nan & rounded)) >> 16;
}

inline H f16_bits(V x) {
#if defined(__AVX512F__)
  return (H)_mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__F16C__) && !defined(ZVAE_AMX)
  return (H)_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT);
#elif defined(NEON)
  return (H)vcvt_f16_f32((float32x4_t)x);
#else
  H h;
  for (int i = 0; i < LANES; i++) h[i] = float_to_half(x[i]);
  return h;
#endif
}

// The bits of numbers as type T stores them, widened to 32.
template <Type T>
inline U bits_of(V x) {
  if constexpr (T == F32) return (U)x;
  if constexpr (T == BF16) return bf16_bits(x);
  return __builtin_convertvector(f16_bits(x), U);
}

template <Type T>
inline V load(const void* p) {
  if constexpr (T == F32) return *(const Unaligned*)p;
  H h;
  memcpy(&h, p, sizeof h);
  if constexpr (T == BF16) return (V)(__builtin_convertvector(h, U) << 16);
  V x{};
#if defined(__AVX512F__)
  x = (V)_mm512_cvtph_ps((__m256i)h);
#elif defined(__F16C__) && !defined(ZVAE_AMX)
  x = (V)_mm256_cvtph_ps((__m128i)h);
#elif defined(NEON)
  x = (V)vcvt_f32_f16((float16x4_t)h);
#else
  for (int i = 0; i < LANES; i++) x[i] = half_to_float(h[i]);
#endif
  return x;
}

template <Type T>
inline void store_bits(void* p, U bits) {
  if constexpr (T == F32) {
    *(Unaligned*)p = (V)bits;
  } else {
    const H h = __builtin_convertvector(bits, H);
    memcpy(p, &h, sizeof h);
  }
}

template <Type T>
inline void store(void* p, V x) {
  store_bits<T>(p, bits_of<T>(x));
}

// Loads only `count` numbers if that is less than LANES. The other lanes are zeros.
template <Type T>
inline V load_some(const void* p, int64_t count) {
  if (count >= LANES) return load<T>(p);
  char all[LANES * size_of(T)] = {};
  memcpy(all, p, count * size_of(T));
  return load<T>(all);
}

template <Type T>
inline void store_bits_some(void* p, U bits, int64_t count) {
  if (count >= LANES) return store_bits<T>(p, bits);
  char all[LANES * size_of(T)];
  store_bits<T>(all, bits);
  memcpy(p, all, count * size_of(T));
}

template <Type T>
inline void store_some(void* p, V x, int64_t count) {
  store_bits_some<T>(p, bits_of<T>(x), count);
}

// Without it, compilers call these once they have many users: 4 % slower, and fused and rounded otherwise.
#define ALWAYS_INLINE __attribute__((always_inline)) inline
// Of a lambda that takes sums: if it were called, they would have to be in memory.
#define IN_REGISTERS __attribute__((always_inline))

// The greater and the smaller of two numbers. If one is NaN: b, or NaN on NEON, so callers must do with either. With all
// lanes in a mask, GCC 12 does not warn of its own header.
ALWAYS_INLINE V greater(V a, V b) {
#if defined(__AVX512F__) && !defined(ZVAE_AMX)
  return (V)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b);
#elif defined(__AVX2__) && !defined(ZVAE_AMX)
  return (V)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(NEON)
  return (V)vmaxq_f32((float32x4_t)a, (float32x4_t)b);
#else
  return select(a > b, a, b);
#endif
}

ALWAYS_INLINE V smaller(V a, V b) {
#if defined(__AVX512F__) && !defined(ZVAE_AMX)
  return (V)_mm512_maskz_min_ps(0xffff, (__m512)a, (__m512)b);
#elif defined(__AVX2__) && !defined(ZVAE_AMX)
  return (V)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(NEON)
  return (V)vminq_f32((float32x4_t)a, (float32x4_t)b);
#else
  return select(a < b, a, b);
#endif
}

// e^x = 2^n · e^r with |r| <= ln(2)/2, and the Taylor polynomial of e^r. The error is within 2 units in the last place.
ALWAYS_INLINE V exp_of(V x) {
  x = greater(splat(-87.0f), smaller(splat(88.0f), x));
  const float magic = 12582912.0f;  // 1.5·2^23: adding it rounds to an integer, which is then in the last bits
  V shifted = x * 1.44269504088896341f + magic;
  V n = shifted - magic;
  V r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  V p = splat(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * (V)(((I)shifted << 23) + (127 << 23));
}

// x / (1 + e^-x).
#if defined(__AVX512F__)
// e^-x = 2^n · 2^f with |f| <= 1/2 and a polynomial, then a reciprocal of 14 bits and one step of Newton's. The error is
// below 2e-7 of x. It takes a third of the time of exp_of and a division, and SiLU is a tenth of a decode.
ALWAYS_INLINE V silu(V x) {
  const __m512 t = _mm512_min_ps((__m512)(x * -1.44269504088896341f), _mm512_set1_ps(126));
  const __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const V f = (V)_mm512_sub_ps(t, n);
  V p = splat(1.3400432e-3f);
  p = p * f + 9.6755e-3f;
  p = p * f + 5.5503380e-2f;
  p = p * f + 2.4022275e-1f;
  p = p * f + 6.9314718e-1f;
  p = p * f + 1.0f;
  const V d = (V)_mm512_scalef_ps((__m512)p, n) + 1.0f;
  V r = (V)_mm512_rcp14_ps((__m512)d);
  r = r * (2.0f - d * r);
  return x * r;
}
#else
ALWAYS_INLINE V silu(V x) { return x / (1.0f + exp_of(-x)); }
#endif

inline float largest(V x) {
  float most = x[0];
  for (int i = 1; i < LANES; i++) most = x[i] > most ? x[i] : most;
  return most;
}

inline float smallest(V x) {
  float most = x[0];
  for (int i = 1; i < LANES; i++) most = x[i] < most ? x[i] : most;
  return most;
}

template <Type T>
struct Is {
  static constexpr Type type = T;
};

// Calls run(Is<T>{}) with T = type.
template <class Run>
inline void typed(int64_t type, Run run) {
  if (type == F32) run(Is<F32>{});
  if (type == BF16) run(Is<BF16>{});
  if (type == F16) run(Is<F16>{});
}

}  // namespace
