// What a case compares. The first difference is noted, and makes the case fail.
#pragma once

#include "library.h"
#include "numbers.h"

struct Check {
  const Library& library;
  int64_t path;
  std::string difference;

  void fail(const std::string& what) {
    if (difference.empty()) difference = what;
  }

  // Where float64 has NaN, so must the result; a NaN elsewhere is allowed only if `spreads`.
  void near(const char* what, int64_t i, double found, double exact, double slack, bool spreads = false) {
    if (std::isnan(exact) ? std::isnan(found) : fabs(found - exact) <= slack || (spreads && std::isnan(found))) return;
    fail(std::string(what) + " " + std::to_string(i) + " is " + std::to_string(found) + ", not " + std::to_string(exact) +
         " within " + std::to_string(slack));
  }

  void fenced(const char* what, const Memory& memory) {
    if (!memory.fenced()) fail(std::string("memory beside ") + what + " was written");
  }

  // The sum of bits that a call reported, the sum that the library reads back, and the sum over memory are the same.
  void sums(const char* what, const std::vector<int64_t>& written, std::vector<const Memory*> memories, int64_t type) {
    uint32_t reported = 0, read = 0, plain = 0;
    for (int64_t sum : written) reported += (uint32_t)sum;
    for (const Memory* memory : memories) {
      const int64_t size = size_of(type), numbers = memory->bytes() / size;
      int64_t sum = -1, largest = -1;
      uint32_t most = 0;
      const ReadBack operation{type, 1, numbers, memory->data(), &sum, &largest, 1};
      library.readback(path, &operation);
      read += (uint32_t)sum;
      for (int64_t i = 0; i < numbers; i++) {
        uint32_t bits = 0;
        memcpy(&bits, memory->data() + i * size, size);
        plain += bits + (bits >> 16);
        const uint32_t magnitude = bits & (size == 4 ? 0x7fffffff : 0x7fff);
        most = magnitude > most ? magnitude : most;
      }
      if (largest != (int64_t)most) fail(std::string("the largest magnitude read back from ") + what);
    }
    if (read != plain) fail(std::string("the sum of bits read back from ") + what);
    if (reported != plain) fail(std::string("the sum of bits written to ") + what);
  }
};
