// The contract between Python (zvae_tiled/devices/native_cpu/library.py) and the kernels: plain C structs.
//
// Maps are NHWC. Input and skip rows are passed as pointers, so bands, carried-over rows and the rows of zeros beyond a
// map's edge need no copy.
//
// Sums are float32. Every pixel adds its terms in the same order: the kernel's taps row by row, and the channels of
// each tap. Squares begin at a multiple of 4 rows of the map, or of 2 rows before doubling, and so must the rows of a
// call. So the bits of a pixel depend neither on its band nor on its tile.
#pragma once

#include <cstdint>

// Raise this here and in Python when the meaning of a field changes. Python compares the sizes of the structs too.
constexpr int64_t CONTRACT = 9;

enum Type : int64_t { F32 = 0, BF16 = 1, F16 = 2 };

// input rows -> (x - mean)·scale + shift, or x / |x|·scale -> SiLU, or ReLU without a norm -> convolution -> + bias -> + skip, or its 1×1 shortcut -> output rows
struct Conv {
  int64_t in_type, out_type;  // the skip has out_type too
  int64_t rows, width;        // size of the result, before doubling if upsample is set
  int64_t in_width;
  int64_t inputs, outputs;
  int64_t kernel, stride, left;  // left: columns of zeros before the first column
  int64_t upsample;              // weights hold four 2×2 kernels, one for each phase, unless squares is set
  int64_t squares;               // 3×3, stride 1: multiplied square by square (squares.h)
  int64_t tile_rows, tile_columns;  // size of a tile, which one thread computes, with at most 64 rows
  const void* const* in;            // (rows - 1)·stride + kernel pointers, null for a row of zeros
  const float *scale, *shift, *mean;  // scale is null: no norm
  float rms;  // above 0: each pixel is divided by its length first, or by this if that is more
  int64_t activation;  // 0: none, 1: SiLU, which needs a norm, 2: ReLU
  const void* weights;
  const float* bias;
  const void* const* skip;  // pointers to rows, or null if there is no skip
  int64_t skip_relu;        // whether negative numbers of the skip are zeros
  int64_t skip_inputs;      // channels of the skip, if it goes through the shortcut, else 0
  const void* shortcut;
  void* out;
  float *low, *high;  // smallest and largest sum in each row of each tile, before bias and skip, or NaN if one is NaN
  int64_t* sums;      // sum of the bits written in each row of each tile (readback.h)
  void* scratch;
  int64_t scratch_bytes;  // for each thread that runs
  int64_t threads;        // maximum that may run
};

// Packs weights (outputs, taps, inputs) in the order that the kernels read.
struct Pack {
  int64_t type;
  int64_t outputs, inputs, kernel;
  int64_t upsample, squares;
  const void* weights;
  void* packed;
  int64_t* sums;  // sum of the bits written in each block of outputs of each kernel (readback.h)
  int64_t threads;
};

// Attention to one block of keys, with an online softmax: total = total·fade + weights·values.
struct Attend {
  int64_t type;  // of keys and values
  int64_t queries, keys, channels;
  float scale;
  const float* query;  // (queries, channels)
  const void* block;   // (keys, 2·channels): each row is a key, then its value
  float *top, *weight, *total;
  int64_t* sums;  // sum of the bits written to top, weight and total, for each ASKED queries (readback.h)
  void* packed;   // memory for the packed keys and values
  void* scratch;
  int64_t scratch_bytes;  // for each thread that runs
  int64_t threads;        // maximum that may run
};

struct Moments {
  int64_t type;
  int64_t rows, width, channels;
  const void* in;
  double *mean, *m2;  // (rows, channels)
  int64_t threads;
};

// Reads rows of numbers back from memory.
struct ReadBack {
  int64_t type;
  int64_t rows, numbers;
  const void* in;
  int64_t* sums;     // sum of the bits of each row (readback.h)
  int64_t* largest;  // bits of the largest magnitude in each row, greater than infinity's if the row has a NaN
  int64_t threads;
};

// Copies rows, which lie anywhere, to rows that follow one another.
struct Copy {
  int64_t rows, bytes;  // bytes of a row
  const void* const* in;
  void* out;
  int64_t threads;
};

// A path: the kernels built for one kind of CPU. Python's planner reads these constants, so each is defined only once.
struct Path {
  const char* name;
  int64_t pixels;   // pixels of a product in registers
  int64_t outputs;  // outputs of a product in registers
  int64_t lanes;    // floats in a vector: outputs are padded to a multiple of lanes
  int64_t depth;    // input channels are padded to a multiple of depth
  int64_t number;   // bytes of the type that the path multiplies
  int64_t tile_rows;     // maximum rows of a convolution's tile
  int64_t queries;       // queries that a thread computes at a time in the attention, at most
  int64_t panel_rows;    // rows of a product of the attention in registers
  int64_t panel;         // outputs of that product: the attention pads keys, and channels of values, to a multiple
  int64_t softmax_keys;  // keys between two updates of the softmax
  int64_t small;         // bytes of the numbers that squares multiply: 2 for int16, or 4
  int64_t blocks;        // blocks of outputs whose products a tile of squares holds at once
  void (*conv)(const Conv&);
  void (*pack)(const Pack&);
  void (*attend)(const Attend&);
  void (*moments)(const Moments&);
  void (*read_back)(const ReadBack&);
  int64_t (*peak)(int64_t, float*);
};

// Calls work(context, item, thread) for each of `items` items, and returns when all are done. Uses at most `threads`
// threads, and no more than there are items.
void parallel(int64_t items, int64_t threads, void (*work)(const void*, int64_t, int64_t), const void* context);
