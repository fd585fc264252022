// Reads memory back after a call wrote it: the sum of the bits, and the largest magnitude in each row. The call sums
// the same bits while they are in registers, and Python compares the two sums.
#pragma once

#include "vectors.h"

namespace {

// Loads the bits of numbers of type T, widened to 32.
template <Type T>
inline U bits_at(const char* p) {
  if constexpr (T == F32) {
    U bits;
    memcpy(&bits, p, sizeof bits);
    return bits;
  } else {
    H bits;
    memcpy(&bits, p, sizeof bits);
    return __builtin_convertvector(bits, U);
  }
}

// The sum of the bits of numbers. It is an integer, so the order of the numbers does not matter. It is 0 if all numbers
// are zeros, else only by a chance of 1 in 2^32. The high bits are added to the low bits too: numbers with few digits,
// like 1.0, have no low bits, and 512 of them would add up to 0.
struct BitSum {
  U sums{};

  void add(U bits) { sums += bits + (bits >> 16); }
  // Skips the lanes from `count` on, which are not stored.
  void add(U bits, int64_t count) { add(count < LANES ? first_of(bits, count) : bits); }
  uint32_t total() const {
    uint32_t all = 0;
    for (int i = 0; i < LANES; i++) all += sums[i];
    return all;
  }

 private:
  static U first_of(U bits, int64_t count) {
    I lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return bits & (U)(lane < (int32_t)count);
  }
};

template <Type T>
void read_row(const ReadBack& r, int64_t row) {
  const char* in = (const char*)r.in + row * r.numbers * size_of(T);
  BitSum sum;
  I most{};  // magnitudes have no sign, so their bits compare as the floats do, and NaN is the largest
  const auto read = [&](U bits) {
    sum.add(bits);
    const I magnitude = (I)(bits & (T == F32 ? 0x7fffffff : 0x7fff));
    most = magnitude > most ? magnitude : most;
  };
  int64_t i = 0;
  for (; i + LANES <= r.numbers; i += LANES) read(bits_at<T>(in + i * size_of(T)));
  if (i < r.numbers) {
    char rest[LANES * size_of(T)] = {};
    memcpy(rest, in + i * size_of(T), (r.numbers - i) * size_of(T));
    read(bits_at<T>(rest));
  }
  int32_t largest = 0;
  for (int j = 0; j < LANES; j++) largest = most[j] > largest ? most[j] : largest;
  r.sums[row] = sum.total();
  r.largest[row] = largest;
}

void read_item(const void* context, int64_t row, int64_t) {
  const ReadBack& r = *(const ReadBack*)context;
  typed(r.type, [&](auto is) { read_row<decltype(is)::type>(r, row); });
}

void read_back(const ReadBack& r) { parallel(r.rows, r.threads, read_item, &r); }

}  // namespace
