// The contract between Python (zvae_tiled/devices/native_cpu/library.py) and the kernels: plain C structs.
//
// Maps are rows of pixels of channels (NHWC). Rows come as pointers, so that bands, rows carried over and rows of
// zeros beyond a map's edge need no copy. Sums are float32, in one order for every pixel: the taps of the kernel row
// by row, and the channels of each; or of Winograd's products, which for two pixels of a row are shared, the first of
// them in an even column. So a pixel's bits depend neither on the band it lies in nor on the tile.
#pragma once

#include <cstdint>

// To be raised, here and in Python, whenever what a field means changes; sizes are compared too.
constexpr int64_t CONTRACT = 4;

enum Type : int64_t { F32 = 0, BF16 = 1, F16 = 2 };

// rows -> (x - mean)·scale + shift -> SiLU -> convolution -> + bias -> + skip, or its 1×1 shortcut -> rows
struct Conv {
  int64_t in_type, out_type;  // the skip is of out_type too
  int64_t rows, width;        // written; where upsample is set each is doubled
  int64_t in_width;
  int64_t inputs, outputs;
  int64_t kernel, stride, left;  // left: columns of zeros before the first
  int64_t upsample;              // weights hold four 2×2 kernels, one a phase, or nine products
  int64_t winograd;              // 3×3 of float32 with a stride of 1 by fewer products than taps (winograd.h)
  int64_t tile_rows, tile_columns;  // what a thread works on at a time: at most 64 rows
  const void* const* in;            // (rows - 1)·stride + kernel rows; null: zeros
  const float *scale, *shift, *mean;  // null: as it is
  int64_t silu;
  const void* weights;
  const float* bias;
  const void* const* skip;  // rows, or null
  int64_t skip_inputs;      // channels of a skip that goes through the shortcut; 0: it is added
  const void* shortcut;
  void* out;
  float *low, *high;  // of every row of every tile, before bias and skip; NaN if there was one
  int64_t* sums;      // of every row of every tile: the bits that were written (readback.h)
  void* scratch;
  int64_t scratch_bytes;  // a thread
  int64_t threads;        // at most; there is scratch for so many
};

// Weights (outputs, taps, inputs) brought into the order the kernels read them.
struct Pack {
  int64_t type;
  int64_t outputs, inputs, kernel;
  int64_t upsample, winograd;
  const void* weights;
  void* packed;
  int64_t* sums;  // of every kernel's blocks of outputs: the bits that were written (readback.h)
  int64_t threads;
};

// Queries ask some keys: totals = totals·fade + weights·values, by an online softmax.
struct Attend {
  int64_t type;  // of keys and values
  int64_t queries, keys, channels;
  float scale;
  const float* query;  // (queries, channels)
  const void* block;   // (keys, 2·channels): keys, and values behind them
  float *top, *weight, *total;
  int64_t* sums;  // of every 64 queries or fewer (ASKED): the bits of all three that were written (readback.h)
  void* packed;   // room for keys and values as the kernels read them
  void* scratch;
  int64_t scratch_bytes;  // a thread
  int64_t threads;        // at most; there is scratch for so many
};

struct Moments {
  int64_t type;
  int64_t rows, width, channels;
  const void* in;
  double *mean, *m2;  // (rows, channels)
  int64_t threads;
};

// What memory holds: rows of numbers.
struct ReadBack {
  int64_t type;
  int64_t rows, numbers;
  const void* in;
  int64_t* sums;     // of every row's bits (readback.h)
  int64_t* largest;  // every row's largest magnitude, as bits; past infinity's if there is a NaN
  int64_t threads;
};

// One way to compute, built for one kind of CPU.
// What Python plans with is exported here, so that no number stands twice.
struct Path {
  const char* name;
  int64_t pixels;   // of a tile in registers
  int64_t outputs;  // of it
  int64_t lanes;    // a vector's: outputs are padded to a multiple of it
  int64_t depth;    // channels read are padded to a multiple of it
  int64_t number;   // bytes of the type it multiplies
  int64_t tile_rows;     // rows a thread works on at a time, at most
  int64_t planes;        // of numbers to be multiplied, in a row of Winograd's scratch
  int64_t paired;        // Winograd's products along a row of two pixels
  int64_t folded;        // products in each direction of a folded upsampling
  int64_t queries;       // a thread works on at a time, at most
  int64_t softmax_keys;  // keys between two updates of the softmax
  void (*conv)(const Conv&);
  void (*pack)(const Pack&);
  void (*attend)(const Attend&);
  void (*moments)(const Moments&);
  void (*read_back)(const ReadBack&);
  int64_t (*peak)(int64_t, float*);
};

// Runs work(context, item, thread) for every item, on so many threads at most, and on no more than there are items;
// returns when all are done.
void parallel(int64_t items, int64_t threads, void (*work)(const void*, int64_t, int64_t), const void* context);
