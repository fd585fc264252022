// What memory holds, to be compared with what a call wrote there: a sum of its bits, which the call takes in registers,
// and the largest magnitude of each row.
#pragma once

#include "vectors.h"

namespace {

// A type's number as its bits, widened to 32.
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

// Sum of the bits of some numbers: whole, so their order does not matter, and 0 only if all are zeros or by a chance of
// 1 in 2^32. High bits are added to the low ones: numbers with few digits, like 1.0, have no low bits, and 512 of the
// same one would add up to 0.
struct BitSum {
  U sums{};

  void add(U bits) { sums += bits + (bits >> 16); }
  // The lanes from `count` on are not stored.
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
  I most{};  // magnitudes have no sign, so whole numbers compare as floats do; NaN is the largest
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
