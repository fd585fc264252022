// A 3×3 convolution, or one of a doubled map, square by square: 4×4 results by fewer products than taps (scheme.h).
//
// A tile is a few rows of squares. First all its squares are transformed: plane after plane of small numbers. Then each
// product multiplies its plane by its weights, for a block of outputs, so that weights are read once for a tile. Last,
// the products of each square become 4×4 pixels. A square begins at a multiple of STEP rows and columns of the map, so
// its bits depend on nothing else.
#pragma once

#include "blocks.h"
#include "extent.h"
#include "prologue.h"
#include "scheme.h"

namespace {

constexpr int64_t MOST_ROWS = 16;  // of a tile of squares
#if defined(ZVAE_AMX)
constexpr int64_t SMALL = 0;  // its tiles multiply all taps
#else
constexpr int64_t SMALL = sizeof(Small);
#endif
constexpr int64_t LINE = 64 / sizeof(float);

inline int64_t odd_lines(int64_t bytes) { return (round_up(bytes, 64) / 64 | 1) * 64; }

template <class S>
struct SquareTile {
  static constexpr int64_t PLANES = S::IN * S::IN, PRODUCTS = S::PRODUCTS * S::PRODUCTS, GROWN = S::OUT / S::STEP;

  const Conv& c;
  int64_t top, left, rows, columns;  // of the result, before doubling
  int64_t down, across, most;        // rows and columns of squares; squares that scratch has room for
  int64_t inputs;                    // padded
  int64_t ring_row, plane, pitch, product;
  float *ring, *wide, *scales, *products, *added;
  Small* planes;
  Number* aside;

  SquareTile(const Conv& conv, int64_t item, int64_t thread) : c(conv) {
    const int64_t tiles = (c.width + c.tile_columns - 1) / c.tile_columns;
    top = item / tiles * c.tile_rows, left = item % tiles * c.tile_columns;
    rows = least(c.tile_rows, c.rows - top), columns = least(c.tile_columns, c.width - left);
    down = (rows + S::STEP - 1) / S::STEP, across = (columns + S::STEP - 1) / S::STEP;
    const int64_t wides = (c.tile_columns + S::STEP - 1) / S::STEP;
    most = (c.tile_rows + S::STEP - 1) / S::STEP * wides;
    inputs = transformed(c.inputs);
    ring_row = (wides * S::STEP + S::IN - S::STEP) * (inputs + LINE);
    pitch = odd_lines(inputs * sizeof(Small)) / sizeof(Small);
    plane = odd_lines(most * pitch * sizeof(Small)) / sizeof(Small);
    product = odd_lines(least(BLOCKS, blocks_of(c.outputs)) * most * OUTPUTS * 4) / 4;
    char* room = aligned((char*)c.scratch + thread * c.scratch_bytes);
    const auto take = [&](int64_t bytes) {
      char* at = room;
      room += round_up(bytes, 64);
      return at;
    };
    ring = (float*)take(S::IN * ring_row * 4);
    planes = (Small*)take(PLANES * plane * sizeof(Small));
    products = (float*)take(PRODUCTS * product * 4);
    wide = (float*)take(sizeof(Small) == 2 ? PLANES * (inputs + LINE) * 4 : 0);
    scales = (float*)take(sizeof(Small) == 2 ? PLANES * most * 4 : 0);
    aside = (Number*)take(c.skip_inputs ? (S::OUT * wides * S::OUT + PIXELS) * pitch_of(c.skip_inputs) * sizeof(Number) : 0);
    added = (float*)take(c.skip_inputs ? (S::OUT * wides * S::OUT + PIXELS) * OUTPUTS * 4 : 0);
  }

  // Rows are activated once into a ring; the squares of a row read IN of them.
  void read() {
    const auto activate = activation_of<F32>(c);
    const int64_t pixels = across * S::STEP + S::IN - S::STEP;
    for (int64_t row = 0; row < down; row++) {
      for (int64_t i = row ? S::IN - S::STEP : 0; i < S::IN; i++) {
        const int64_t at = row * S::STEP + i;
        const void* in = top + at < c.rows + 2 ? c.in[top + at] : nullptr;
        activate(c, c.in_type, in, c.inputs, c.in_width, left - 1, pixels, ring + at % S::IN * ring_row, inputs,
                 inputs + LINE);
      }
      const float* lines[S::IN];
      for (int64_t i = 0; i < S::IN; i++) lines[i] = ring + (row * S::STEP + i) % S::IN * ring_row;
      for (int64_t x = 0; x < across; x++) transform(lines, x * S::STEP, row * across + x);
    }
  }

  void transform(const float* const* lines, int64_t column, int64_t square) {
    const int64_t next = inputs + LINE;
    for (int64_t i = 0; i < inputs; i += LANES) {
      V half[S::IN][S::IN];
      for (int64_t x = 0; x < S::IN; x++) {
        V in[S::IN], out[S::IN];
        for (int64_t y = 0; y < S::IN; y++) in[y] = load<F32>(lines[y] + (column + x) * next + i);
        S::in(in, out);
        for (int64_t y = 0; y < S::IN; y++) half[y][x] = out[y];
      }
      for (int64_t y = 0; y < S::IN; y++) {
        V out[S::IN];
        S::in(half[y], out);
        for (int64_t x = 0; x < S::IN; x++) {
#if defined(ZVAE_I16)
          store<F32>(wide + (y * S::IN + x) * next + i, out[x]);
#else
          store<F32>(planes + (y * S::IN + x) * plane + square * pitch + i, out[x]);
#endif
        }
      }
    }
#if defined(ZVAE_I16)
    const float norm = planes_norm(c.inputs);
    for (int64_t p = 0; p < PLANES; p++)
      scales[square * PLANES + p] = quantise(wide + p * next, inputs, norm, planes + p * plane + square * pitch);
#endif
  }

  void multiply_blocks(int64_t first, int64_t blocks) {
    const int64_t squares = down * across, groups = (squares + SQUARES - 1) / SQUARES;
    for (int64_t p = 0; p < PRODUCTS; p++) {
      const int64_t from = S::plane(p / S::PRODUCTS) * S::IN + S::plane(p % S::PRODUCTS);
      for (int64_t b = 0; b < blocks; b++) {
        const Packed<S> block(c.weights, c.inputs, c.outputs, first + b * OUTPUTS);
        for (int64_t g = 0; g < groups; g++) {
          const int64_t at = squares * g / groups, count = squares * (g + 1) / groups - at;
          float* out = products + p * product + (b * most + at) * OUTPUTS;
          for (int64_t i = 0; i < block.depth; i += CHANNELS_AT_ONCE)
            small_multiply(block.outputs, count, planes + from * plane + at * pitch + i, pitch,
                           scales + at * PLANES + from, PLANES, block.weights(p) + i * block.outputs, block.shares(p),
                           least(CHANNELS_AT_ONCE, block.depth - i), out, i > 0);
        }
      }
    }
  }

  // Multiplies the skip of a row of squares by the shortcut's weights, for one block of outputs.
  void multiply_skip(int64_t row, int64_t first) {
    const int64_t outputs = outputs_of_block(c.outputs - first);
    const int64_t high = least(S::OUT, rows - row * S::OUT), step = pitch_of(c.skip_inputs);
    Source<Number> source;
    source.count = 1, source.depth = round_up(c.skip_inputs, DEPTH), source.pitch = step;
    const Number* weights = (const Number*)c.shortcut + first * source.depth;
    for (int64_t i = 0; i < high * columns; i += PIXELS) {
      source.taps[0] = aside + i * step;
      multiply(least(PIXELS, high * columns - i), outputs, source, weights, added + i * OUTPUTS, true);
    }
  }

  void read_skip(int64_t row) {
    for (int64_t i = 0; i < least(S::OUT, rows - row * S::OUT); i++)
      activate_row<NUMBER, NONE, PLAIN>(c, c.out_type, c.skip[top + row * S::OUT + i], c.skip_inputs, c.width, left,
                                        columns, aside + i * columns * pitch_of(c.skip_inputs),
                                        round_up(c.skip_inputs, DEPTH), pitch_of(c.skip_inputs));
  }

  // Writes a block of outputs of one square, which is WHOLE or the last.
  template <Type T, bool WHOLE>
  void put(int64_t row, int64_t x, int64_t first, const float* from, Extent* extents) {
    const int64_t high = least(S::OUT, rows * GROWN - row * S::OUT), wider = least(S::OUT, columns * GROWN - x * S::OUT);
    const int64_t y0 = top * GROWN + row * S::OUT, x0 = left * GROWN + x * S::OUT, line = c.width * GROWN;
    const int64_t outputs = WHOLE ? OUTPUTS : c.outputs - first;
    for (int64_t i = 0; i < outputs; i += LANES) {
      const int64_t count = outputs - i;
      V half[S::OUT][S::PRODUCTS];
      for (int64_t q = 0; q < S::PRODUCTS; q++) {
        V in[S::PRODUCTS], out[S::OUT];
        for (int64_t p = 0; p < S::PRODUCTS; p++) in[p] = load<F32>(from + (p * S::PRODUCTS + q) * product + i);
        S::out(in, out);
        for (int64_t y = 0; y < S::OUT; y++) half[y][q] = out[y];
      }
      const V bias = load_some<F32>(c.bias + first + i, count);
      for (int64_t y = 0; y < high; y++) {
        V out[S::OUT];
        S::out(half[y], out);
        Extent& extent = extents[row * S::STEP + y / GROWN];
        for (int64_t j = 0; j < S::OUT && j < wider; j++) {
          extent.note(out[j], count);
          V sum = out[j] + bias;
          if (c.skip_inputs) {
            sum += load<F32>(added + (y * columns + x * S::OUT + j) * OUTPUTS + i);
          } else if (c.skip) {
            const V skip = load_some<T>((const char*)c.skip[y0 + y] + ((x0 + j) * c.outputs + first + i) * size_of(T), count);
            sum += c.skip_relu ? relu(skip) : skip;
          }
          const U bits = bits_of<T>(sum);
          extent.written.add(bits, count);
          store_bits_some<T>((char*)c.out + (((y0 + y) * line + x0 + j) * c.outputs + first + i) * size_of(T), bits, count);
        }
      }
    }
  }

  template <Type T>
  void write_all() {
    Extent extents[MOST_ROWS];
    for (int64_t first = 0; first < c.outputs; first += BLOCKS * OUTPUTS) {
      const int64_t blocks = least(BLOCKS, blocks_of(c.outputs - first));
      multiply_blocks(first, blocks);
      for (int64_t row = 0; row < down; row++) {
        if (c.skip_inputs) read_skip(row);
        for (int64_t b = 0; b < blocks; b++) {
          const int64_t at = first + b * OUTPUTS;
          if (c.skip_inputs) multiply_skip(row, at);
          const float* from = products + (b * most + row * across) * OUTPUTS;
          for (int64_t x = 0; x < across; x++, from += OUTPUTS)
            if (c.outputs - at < OUTPUTS)
              put<T, false>(row, x, at, from, extents);
            else
              put<T, true>(row, x, at, from, extents);
        }
      }
    }
    const int64_t tiles = (c.width + c.tile_columns - 1) / c.tile_columns;
    for (int64_t row = 0; row < rows; row++)
      extents[row].report(c, (top + row) * tiles + left / c.tile_columns);
  }
};

template <class S>
void square_tile(const void* context, int64_t item, int64_t thread) {
  const Conv& c = *(const Conv*)context;
  SquareTile<S> tile(c, item, thread);
  tile.read();
  typed(c.out_type, [&](auto is) { tile.template write_all<decltype(is)::type>(); });
}

}  // namespace
