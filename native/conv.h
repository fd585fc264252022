// A convolution with its norm, activation, bias and skip, tile by tile. Rows are normalised and activated into scratch
// that stays in the L2 cache. They are multiplied with packed weights, and the sums are finished while they are in L1.
#pragma once

#include "pack.h"
#include "squares.h"

namespace {

constexpr int64_t TILE_ROWS = 64;  // maximum rows of a tile, which one thread computes

// Adds bias and skip to sums, rounds them to type T, and writes them to `out`, `step` numbers apart in both maps.
template <Type T>
inline void finish(const Conv& c, const float* sums, int64_t pixels, int64_t first, int64_t outputs, char* out,
                   int64_t step, const char* skip, BitSum& written) {
  BitSum here;
  for (int64_t m = 0; m < pixels; m++, sums += OUTPUTS, out += step * size_of(T))
    for (int64_t i = 0; i < outputs; i += LANES) {
      V x = load<F32>(sums + i) + load_some<F32>(c.bias + first + i, outputs - i);
      if (skip) {
        const V aside = load_some<T>(skip + (m * step + first + i) * size_of(T), outputs - i);
        x += c.skip_relu ? relu(aside) : aside;
      }
      const U bits = bits_of<T>(x);
      here.add(bits, outputs - i);
      store_bits_some<T>(out + (first + i) * size_of(T), bits, outputs - i);
    }
  written.sums += here.sums;
}

// One tile of the map. One thread computes it, in the caches of its core.
struct MapTile {
  const Conv& c;
  int64_t top, left, rows, columns;
  Number *lines, *spare, *aside;  // spare: working memory, which AMX's last tile also reads
  int64_t line;  // numbers in a row of `lines`

  MapTile(const Conv& conv, int64_t item, int64_t thread) : c(conv) {
    const int64_t across = (c.width + c.tile_columns - 1) / c.tile_columns, pitch = pitch_of(c.inputs);
    top = item / across * c.tile_rows, left = item % across * c.tile_columns;
    rows = least(c.tile_rows, c.rows - top), columns = least(c.tile_columns, c.width - left);
    lines = (Number*)aligned((char*)c.scratch + thread * c.scratch_bytes);
    line = ((c.tile_columns - 1) * c.stride + c.kernel) * pitch;
    spare = lines + ((c.tile_rows - 1) * c.stride + c.kernel) * line;
    aside = spare + PIXELS * pitch;
  }

  void read() {
    const int64_t count = (columns - 1) * c.stride + c.kernel, from = left * c.stride - c.left;
    const auto row = activation_of<NUMBER>(c);
    const int64_t padded = round_up(c.inputs, DEPTH), more = round_up(c.skip_inputs, DEPTH);
    for (int64_t i = 0; i < (rows - 1) * c.stride + c.kernel; i++)
      row(c, c.in_type, c.in[top * c.stride + i], c.inputs, c.in_width, from, count, lines + i * line, padded,
          pitch_of(c.inputs));
    if (c.skip_inputs)
      for (int64_t i = 0; i < rows; i++)
        activate_row<NUMBER, NONE, PLAIN>(c, c.out_type, c.skip[top + i], c.skip_inputs, c.width, left, columns,
                                           aside + i * c.tile_columns * pitch_of(c.skip_inputs), more,
                                           pitch_of(c.skip_inputs));
  }

  // The taps of the pixel at (row, column). If upsampling is folded, they are those of the phase (down, right).
  Source<Number> source(int64_t row, int64_t column, int64_t down, int64_t right) const {
    const int64_t pitch = pitch_of(c.inputs), size = c.upsample ? 2 : c.kernel;
    Source<Number> found;
    found.count = size * size, found.depth = round_up(c.inputs, DEPTH), found.pitch = pitch * c.stride;
    for (int64_t i = 0; i < size; i++)
      for (int64_t j = 0; j < size; j++)
        found.taps[i * size + j] = lines + (row * c.stride + i + down) * line + (column * c.stride + j + right) * pitch;
    return found;
  }

  // Writes a block of outputs of one row, of one phase if upsampling is folded.
  template <Type T>
  void write(int64_t row, int64_t first, int64_t outputs, int64_t phase, const Number* weights, const Number* shortcut,
             Extent& extent) {
    const int64_t groups = (columns + PIXELS - 1) / PIXELS;
    const int64_t group = round_up((columns + groups - 1) / groups, GRAIN);
    alignas(64) float sums[PIXELS * OUTPUTS];
    for (int64_t x = 0; x < columns; x += group) {
      const int64_t pixels = least(group, columns - x), down = phase / 2, right = phase % 2;
      if (c.upsample) {
        multiply(pixels, outputs, source(row, x, down, right), weights, sums, true);
        put<T>(sums, pixels, first, outputs, 2 * row + down, 2 * x + right, 2, nullptr, extent);
      } else {
        multiply(pixels, outputs, source(row, x, 0, 0), weights, sums, true);
        put<T>(sums, pixels, first, outputs, row, x, 1, shortcut, extent);
      }
    }
  }

  // Adds the sums to `extent`, then bias and skip or shortcut to the sums. Writes the pixels `apart` columns apart.
  template <Type T>
  void put(float* sums, int64_t pixels, int64_t first, int64_t outputs, int64_t row, int64_t column, int64_t apart,
           const Number* shortcut, Extent& extent) {
    for (int64_t m = 0; m < pixels; m++)
      for (int64_t i = 0; i < outputs; i += LANES) extent.add(load<F32>(sums + m * OUTPUTS + i), outputs - i);
    if (shortcut) {
      Source<Number> more;
      more.count = 1, more.depth = round_up(c.skip_inputs, DEPTH), more.pitch = pitch_of(c.skip_inputs);
      for (int64_t m = 0; m < pixels; m += PIXELS) {
        more.taps[0] = aside + (row * c.tile_columns + column + m) * more.pitch;
        multiply(least(PIXELS, pixels - m), outputs, more, shortcut, sums + m * OUTPUTS, false);
      }
    }
    const int64_t grown = c.upsample ? 2 : 1, size = c.outputs * size_of(T);
    const int64_t down = top * grown + row, right = left * grown + column;
    const char* skip = c.skip && !c.skip_inputs ? (const char*)c.skip[down] + right * size : nullptr;
    char* out = (char*)c.out + (down * c.width * grown + right) * size;
    finish<T>(c, sums, pixels, first, outputs, out, apart * c.outputs, skip, extent.written);
  }

  // The outer loop is over outputs. A tile reads a block of weights from L3 once, and from L2 once every few pixels.
  template <Type T>
  void write_all() {
    const int64_t depth = taps_of(c) * round_up(c.inputs, DEPTH), all = round_up(c.outputs, LANES) * depth;
    const int64_t more = round_up(c.skip_inputs, DEPTH);
    Extent extents[TILE_ROWS];
    for (int64_t first = 0; first < c.outputs; first += OUTPUTS)
      for (int64_t phase = 0; phase < phases_of(c); phase++)
        for (int64_t row = 0; row < rows; row++)
          write<T>(row, first, least(OUTPUTS, c.outputs - first), phase,
                   (const Number*)c.weights + phase * all + first * depth,
                   c.skip_inputs ? (const Number*)c.shortcut + first * more : nullptr, extents[row]);
    const int64_t across = (c.width + c.tile_columns - 1) / c.tile_columns;
    for (int64_t row = 0; row < rows; row++) extents[row].report(c, (top + row) * across + left / c.tile_columns);
  }
};

void conv_tile(const void* context, int64_t item, int64_t thread) {
  const Conv& c = *(const Conv*)context;
  MapTile tile(c, item, thread);
  tile.read();
  begin_tiles();
  typed(c.out_type, [&](auto is) { tile.template write_all<decltype(is)::type>(); });
  end_tiles();
}

void convolve(const Conv& c) {
  const int64_t down = (c.rows + c.tile_rows - 1) / c.tile_rows, across = (c.width + c.tile_columns - 1) / c.tile_columns;
  auto* tile = conv_tile;
#if !defined(ZVAE_AMX)
  if (c.squares) tile = c.upsample ? square_tile<Doubled> : square_tile<Four>;
#endif
  parallel(down * across, c.threads, tile, &c);
}

}  // namespace
