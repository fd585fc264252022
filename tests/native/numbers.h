// Numbers in the storage types, in memory of exactly their size between two fences. The conversions share no code with the library.
#pragma once

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "../../native/zvae.h"

inline int64_t size_of(int64_t type) { return type == F32 ? 4 : 2; }

// What rounding to a type may change, as a share of the number.
inline double rounding_of(int64_t type) { return type == F32 ? 0x1p-24 : type == BF16 ? 0x1p-8 : 0x1p-11; }

inline double decoded(int64_t type, const char* at) {
  if (type == F32) {
    float x;
    memcpy(&x, at, 4);
    return x;
  }
  uint16_t bits;
  memcpy(&bits, at, 2);
  const int digits = type == BF16 ? 7 : 10, bias = type == BF16 ? 127 : 15;
  const int fraction = bits & ((1 << digits) - 1), exponent = (bits & 0x7fff) >> digits;
  if (exponent == 2 * bias + 1) return fraction ? NAN : bits & 0x8000 ? -INFINITY : INFINITY;
  const double x = exponent ? ldexp(fraction + (1 << digits), exponent - bias - digits) : ldexp(fraction, 1 - bias - digits);
  return bits & 0x8000 ? -x : x;
}

// Stores the number of the type that is nearest to x, which is not too large for it.
inline void encode(int64_t type, double x, char* at) {
  if (type == F32) {
    const float single = x;
    memcpy(at, &single, 4);
    return;
  }
  const int digits = type == BF16 ? 7 : 10, bias = type == BF16 ? 127 : 15;
  int exponent;
  frexp(x, &exponent);
  const int lowest = exponent - 1 < 1 - bias ? 1 - bias : exponent - 1;
  const int64_t whole = llrint(ldexp(fabs(x), digits - lowest));  // may be 2^(digits + 1): then the exponent grows by 1
  uint16_t bits = std::isnan(x) ? ((2 * bias + 1) << digits) | 1 << (digits - 1) : ((lowest + bias - 1) << digits) + whole;
  if (x < 0) bits |= 0x8000;
  memcpy(at, &bits, 2);
}

class Memory {
 public:
  explicit Memory(int64_t bytes, char fill = -1) : bytes_(bytes), all(FENCE, FILLING) {
    all.insert(all.end(), bytes, fill);
    all.insert(all.end(), FENCE, FILLING);
  }

  char* data() { return all.data() + FENCE; }
  const char* data() const { return all.data() + FENCE; }
  int64_t bytes() const { return bytes_; }

  bool fenced() const {
    for (int64_t i = 0; i < FENCE; i++)
      if (all[i] != FILLING || all[FENCE + bytes_ + i] != FILLING) return false;
    return true;
  }

 private:
  static constexpr int64_t FENCE = 1 << 16;
  static constexpr char FILLING = 0x5a;
  int64_t bytes_;
  std::vector<char> all;
};

// `count` numbers of a type, and the same numbers in float64.
struct Numbers {
  int64_t type;
  Memory memory;
  std::vector<double> wide;

  Numbers(int64_t kind, int64_t count) : type(kind), memory(count * size_of(kind), 0), wide(count) {}

  void set(int64_t i, double x) {
    encode(type, x, memory.data() + i * size_of(type));
    wide[i] = decoded(type, memory.data() + i * size_of(type));
  }

  static Numbers random(int64_t type, int64_t count, std::mt19937_64& generator, double deviation = 1) {
    Numbers numbers(type, count);
    std::normal_distribution<double> normal(0, deviation);
    for (int64_t i = 0; i < count; i++) numbers.set(i, normal(generator));
    return numbers;
  }
};
