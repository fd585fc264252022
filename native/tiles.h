// AMX: a tile has 16 rows × 64 bytes. Two tiles of pixels times two of weights give four of sums. Included by micro.h.
//
// ZVAE_EMULATE replaces the instructions by functions, written from Intel's manual. So the packing and indexing can be
// tested on any CPU.

typedef uint16_t Number;
constexpr Type NUMBER = BF16;
constexpr int64_t DEPTH = 32;
constexpr int PIXELS = 32, VECTORS = 2;

#if defined(ZVAE_EMULATE)

struct Tile {
  char rows[16][64];
};
thread_local Tile tiles[8];

inline void tile_zero(int t) { tiles[t] = Tile{}; }
inline void tile_load(int t, const void* p, int64_t stride) {
  for (int i = 0; i < 16; i++) memcpy(tiles[t].rows[i], (const char*)p + i * stride, 64);
}
inline void tile_store(int t, void* p, int64_t stride) {
  for (int i = 0; i < 16; i++) memcpy((char*)p + i * stride, tiles[t].rows[i], 64);
}
inline float widened(const Tile& tile, int row, int column) {
  uint16_t half;
  memcpy(&half, tile.rows[row] + 2 * column, 2);
  uint32_t bits = (uint32_t)half << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
inline void tile_multiply(int c, int a, int b) {  // TDPBF16PS
  for (int m = 0; m < 16; m++)
    for (int n = 0; n < 16; n++) {
      float sum;
      memcpy(&sum, tiles[c].rows[m] + 4 * n, 4);
      for (int k = 0; k < 16; k++) {
        sum += widened(tiles[a], m, 2 * k) * widened(tiles[b], k, 2 * n);
        sum += widened(tiles[a], m, 2 * k + 1) * widened(tiles[b], k, 2 * n + 1);
      }
      memcpy(tiles[c].rows[m] + 4 * n, &sum, 4);
    }
}
inline void begin_tiles() {}
inline void end_tiles() {}
inline void store_all() {}

#else

#define tile_zero(t) _tile_zero(t)
#define tile_load(t, p, stride) _tile_loadd(t, p, stride)
#define tile_store(t, p, stride) _tile_stored(t, p, stride)
#define tile_multiply(c, a, b) _tile_dpbf16ps(c, a, b)

inline void begin_tiles() {
  struct Shapes {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  };
  // Not on the stack: GCC's header declares that only 8 of these 64 bytes are read, so GCC did not store the others.
  alignas(64) static const Shapes shapes = {
      1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
  _tile_loadconfig(&shapes);
}
inline void end_tiles() { _tile_release(); }

// GCC's header does not declare that tile loads read memory. This makes GCC store all values before them.
inline void store_all() { asm volatile("" ::: "memory"); }

#endif

// Tiles 0 to 3 hold sums (pixels × outputs), 4 and 5 hold pixels, 6 and 7 hold weights. A tile always has 16 pixels: if
// fewer are left, it also reads scratch behind the last pixel, and those sums are not used.
template <int M, int N>
void product(const Source<Number>& source, const Number* weights, float* out, bool fresh) {
  const int64_t row = 2 * LANES * 4;
  float* lower = out + 16 * 2 * LANES;
  store_all();
  if (fresh) {
    tile_zero(0);
    if constexpr (N > 1) tile_zero(1);
    if constexpr (M > 1) tile_zero(2);
    if constexpr (M > 1 && N > 1) tile_zero(3);
  } else {
    tile_load(0, out, row);
    if constexpr (N > 1) tile_load(1, out + LANES, row);
    if constexpr (M > 1) tile_load(2, lower, row);
    if constexpr (M > 1 && N > 1) tile_load(3, lower + LANES, row);
  }
  for (int64_t tap = 0; tap < source.count; tap++)
    for (int64_t i = 0; i < source.depth; i += DEPTH, weights += DEPTH * N * LANES) {
      const Number* pixels = source.taps[tap] + i;
      tile_load(6, weights, N * 64);
      if constexpr (N > 1) tile_load(7, weights + 2 * LANES, N * 64);
      tile_load(4, pixels, 2 * source.pitch);
      tile_multiply(0, 4, 6);
      if constexpr (N > 1) tile_multiply(1, 4, 7);
      if constexpr (M > 1) {
        tile_load(5, pixels + 16 * source.pitch, 2 * source.pitch);
        tile_multiply(2, 5, 6);
        if constexpr (N > 1) tile_multiply(3, 5, 7);
      }
    }
  tile_store(0, out, row);
  if constexpr (N > 1) tile_store(1, out + LANES, row);
  if constexpr (M > 1) tile_store(2, lower, row);
  if constexpr (M > 1 && N > 1) tile_store(3, lower + LANES, row);
}

template <int N>
inline void product_of(int64_t pixels, const Source<Number>& source, const Number* weights, float* out, bool fresh) {
  if (pixels > 16)
    product<2, N>(source, weights, out, fresh);
  else
    product<1, N>(source, weights, out, fresh);
}
