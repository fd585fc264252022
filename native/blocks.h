// Channels of squares in memory: how they are padded, and where the packed weights of a block of outputs lie.
#pragma once

#include "small.h"

namespace {

constexpr int64_t BLOCKS = 4;  // blocks of outputs whose products are held at once

// Channels are padded with zeros. Inputs are transformed by cache lines of small numbers and multiplied by pairs, outputs
// are multiplied by vectors.
inline int64_t transformed(int64_t inputs) { return round_up(inputs, 64 / sizeof(Small)); }
inline int64_t multiplied(int64_t inputs) { return round_up(inputs, PAIR); }
inline int64_t blocks_of(int64_t outputs) { return (outputs + OUTPUTS - 1) / OUTPUTS; }
inline int64_t outputs_of_block(int64_t left) { return round_up(least(OUTPUTS, left), LANES); }

// A block's packed weights: for each product, its outputs' scales if there are any, then for each product its weights.
template <class S>
struct Packed {
  static constexpr int64_t PRODUCTS = S::PRODUCTS * S::PRODUCTS;

  const int64_t depth, outputs;
  char* const at;

  Packed(const void* all, int64_t inputs, int64_t every, int64_t first)
      : depth(multiplied(inputs)), outputs(outputs_of_block(every - first)), at((char*)all + first * bytes_of_output()) {}

  float* shares(int64_t product) const { return (float*)at + product * outputs; }
  Small* weights(int64_t product) const {
    return (Small*)(at + PRODUCTS * outputs * SHARE) + product * depth * outputs;
  }

 private:
  static constexpr int64_t SHARE = sizeof(Small) == 2 ? 4 : 0;  // bytes

  int64_t bytes_of_output() const { return PRODUCTS * (SHARE + depth * sizeof(Small)); }
};

}  // namespace
