// A case of a convolution: its weights are packed, the whole map is convolved, then the same map band by band.
#pragma once

#include "check.h"
#include "conv64.h"

class Convolution {
 public:
  Convolution(const Case& one, Check& with) : c(one.line), calls(one.calls), check(with), in(inputs_of(c)) {}

  void run() {
    const Memory weights = packed(in.weights, c["kernel"], c["upsample"], c["squares"], c["packed"]);
    const Memory shortcut = packed(in.shortcut, 1, 0, 0, c["packed_shortcut"]);
    const int64_t bytes = out_rows(c["rows"]) * row_bytes();
    Memory whole(bytes), bands(bytes);
    for (const Line& call : calls) convolve(call, weights, shortcut, call["whole"] ? whole : bands);
    compare(whole);
    if (!c["nan"] && memcmp(whole.data(), bands.data(), bytes) != 0) check.fail("bands have other bits than the whole map");
  }

 private:
  const Line& c;
  const std::vector<Line>& calls;
  Check& check;
  Inputs in;
  std::vector<float> low, high;  // of the rows of the last call, for each of its tiles

  static Inputs inputs_of(const Line& c) {
    std::mt19937_64 generator(c["seed"]);
    const auto random = [&](int64_t type, int64_t count) { return Numbers::random(type, count, generator); };
    const int64_t grown = c["upsample"] ? 2 : 1, outputs = c["outputs"], inputs = c["inputs"], kernel = c["kernel"];
    const int64_t pixels = c["rows"] * c["width"] * grown * grown, aside = c["skip_inputs"], type = c["type"];
    Inputs in{random(c["in_type"], c["in_height"] * c["in_width"] * inputs), random(type, outputs * kernel * kernel * inputs),
              random(F32, inputs), random(F32, inputs), random(F32, inputs), random(F32, outputs),
              random(c["out_type"], c["skip"] ? pixels * (aside ? aside : outputs) : 0), random(type, outputs * aside)};
    if (c["norm"] == 2)
      for (int64_t i = 0; i < inputs; i++) in.shift.set(i, 0), in.mean.set(i, 0);
    if (c["nan"]) in.x.set(generator() % in.x.wide.size(), NAN);
    return in;
  }

  int64_t out_rows(int64_t rows) const { return c["upsample"] ? 2 * rows : rows; }
  int64_t row_bytes() const { return out_rows(c["width"]) * c["outputs"] * size_of(c["out_type"]); }

  Memory packed(const Numbers& weights, int64_t kernel, int64_t upsample, int64_t squares, int64_t bytes) {
    Memory memory(bytes);
    if (bytes == 0) return memory;
    const Path& path = *check.library.path(check.path);
    const int64_t kernels = upsample && !squares ? 4 : 1, blocks = (c["outputs"] + path.outputs - 1) / path.outputs;
    const int64_t inputs = (int64_t)weights.wide.size() / c["outputs"] / (kernel * kernel);
    std::vector<int64_t> sums(kernels * blocks, 1);
    const Pack pack{weights.type, c["outputs"], inputs, kernel, upsample, squares, weights.memory.data(), memory.data(), sums.data(), 2};
    check.library.pack(check.path, &pack);
    check.fenced("packed weights", memory);
    check.sums("packed weights", sums, {&memory}, path.number == 2 ? BF16 : F32);
    return memory;
  }

  // Rows of a map from `first` on. Those outside the map are null, which stands for zeros.
  static std::vector<const void*> rows_of(const Numbers& map, int64_t first, int64_t count, int64_t height) {
    std::vector<const void*> rows;
    const int64_t bytes = map.memory.bytes() / height;
    for (int64_t i = first; i < first + count; i++)
      rows.push_back(i < 0 || i >= height ? nullptr : map.memory.data() + i * bytes);
    return rows;
  }

  void convolve(const Line& call, const Memory& weights, const Memory& shortcut, Memory& out) {
    const int64_t rows = call["rows"], top = call["top"], tiles = call["across"], threads = call["threads"];
    Memory scratch(call["scratches"] * call["scratch"]);
    const auto from = rows_of(in.x, top * c["stride"] - c["above"], (rows - 1) * c["stride"] + c["kernel"], c["in_height"]);
    const auto skip = rows_of(in.skip, top, c["skip"] ? rows : 0, c["rows"]);
    low.assign(rows * tiles, NAN), high.assign(rows * tiles, NAN);
    std::vector<int64_t> sums(rows * tiles, 1);
    const auto floats = [](const Numbers& numbers) { return (const float*)numbers.memory.data(); };
    Conv conv{};
    conv.in_type = c["in_type"], conv.out_type = c["out_type"], conv.rows = rows, conv.width = c["width"];
    conv.in_width = c["in_width"], conv.inputs = c["inputs"], conv.outputs = c["outputs"], conv.kernel = c["kernel"];
    conv.stride = c["stride"], conv.left = c["left"], conv.upsample = c["upsample"], conv.squares = c["squares"];
    conv.tile_rows = call["tile_rows"], conv.tile_columns = call["tile_columns"], conv.in = from.data();
    if (c["norm"]) conv.scale = floats(in.scale), conv.shift = floats(in.shift), conv.mean = floats(in.mean);
    conv.rms = c["norm"] == 2 ? 1e-12f : 0, conv.activation = c["activation"];
    conv.weights = weights.data(), conv.bias = floats(in.bias), conv.skip = c["skip"] ? skip.data() : nullptr;
    conv.skip_relu = c["skip_relu"], conv.skip_inputs = c["skip_inputs"], conv.shortcut = shortcut.data();
    conv.out = out.data() + out_rows(top) * row_bytes(), conv.low = low.data(), conv.high = high.data();
    conv.sums = sums.data(), conv.scratch = scratch.data(), conv.scratch_bytes = call["scratch"], conv.threads = threads;
    check.library.conv(check.path, &conv);
    check.fenced("the result", out);
    check.fenced("scratch", scratch);
    Memory written(out_rows(rows) * row_bytes());
    memcpy(written.data(), conv.out, written.bytes());
    check.sums("the result", sums, {&written}, c["out_type"]);
    if (call["whole"]) note_extents(tiles);
  }

  std::vector<double> lowest, highest;  // of each row of the whole map

  void note_extents(int64_t tiles) {
    for (int64_t row = 0; row < c["rows"]; row++) {
      double least = INFINITY, most = -INFINITY;
      for (int64_t i = row * tiles; i < (row + 1) * tiles; i++)
        least = std::isnan(low[i]) ? NAN : low[i] < least ? low[i] : least, most = std::isnan(high[i]) ? NAN : high[i] > most ? high[i] : most;
      lowest.push_back(least), highest.push_back(most);
    }
  }

  void compare(const Memory& out) {
    const Exact exact = conv64(c, in);
    const int64_t row = exact.total.size() / c["rows"];
    const double sums = 0x1p-23 * (9 * c["inputs"] + c["skip_inputs"] + 8) + ldexp(1, -c["digits"]);
    for (int64_t first = 0, y = 0; y < c["rows"]; first += row, y++) {
      double least = INFINITY, most = -INFINITY, slack = 0;
      for (int64_t i = first; i < first + row; i++) {
        const double found = decoded(c["out_type"], out.data() + i * size_of(c["out_type"]));
        const double allowed = sums * (exact.size[i] + 1) + rounding_of(c["out_type"]) * fabs(exact.total[i]);
        check.near("number", i, found, exact.total[i], allowed, c["nan"]);
        least = fmin(least, exact.bare[i]), most = fmax(most, exact.bare[i]);
        slack = fmax(slack, sums * (exact.bare_size[i] + 1));
        if (std::isnan(exact.bare[i]) && !std::isnan(lowest[y] + highest[y])) check.fail("the extent of a row with NaN is no NaN");
      }
      check.near("the least sum of row", y, lowest[y], least, slack, c["nan"]);
      check.near("the greatest sum of row", y, highest[y], most, slack, c["nan"]);
    }
  }
};
