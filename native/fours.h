// BFMMLA, of ARM: it multiplies 4 channels of two pixels by those of two outputs, so its sums are 2 × 2. Included by
// micro.h.

typedef uint16_t Number;
constexpr Type NUMBER = BF16;
constexpr int64_t DEPTH = 4;
constexpr int PIXELS = 4, VECTORS = 4;  // 2 × 8 sums, 8 weights, 2 inputs: 26 of 32 registers

template <int M, int N>
inline void add(const Number* a, const Number* b, int64_t depth, int64_t pitch, V (&sums)[M][N]) {
  constexpr int PAIRS = (M + 1) / 2;
  const auto exchange = [](V& upper, V& lower) IN_REGISTERS {  // rows of one output vector and pairs of outputs
    const float64x2_t first = (float64x2_t)upper, second = (float64x2_t)lower;
    upper = (V)vzip1q_f64(first, second), lower = (V)vzip2q_f64(first, second);
  };
  V square[PAIRS][N][2] = {};
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) square[m / 2][n][m % 2] = sums[m][n];
  for (int m = 0; m < PAIRS; m++)
    for (int n = 0; n < N; n++) exchange(square[m][n][0], square[m][n][1]);
  for (int64_t i = 0; i < depth; i += 4, a += 4, b += 4 * N * LANES) {
    bfloat16x8_t w[2 * N];
#pragma GCC unroll 8
    for (int n = 0; n < 2 * N; n++) w[n] = vreinterpretq_bf16_u16(vld1q_u16(b + 8 * n));
#pragma GCC unroll 8
    for (int m = 0; m < PAIRS; m++) {
      const Number *upper = a + 2 * m * pitch, *lower = 2 * m + 1 < M ? upper + pitch : upper;
      const bfloat16x8_t x = vreinterpretq_bf16_u16(vcombine_u16(vld1_u16(upper), vld1_u16(lower)));
#pragma GCC unroll 8
      for (int n = 0; n < 2 * N; n++) square[m][n / 2][n % 2] = (V)vbfmmlaq_f32((float32x4_t)square[m][n / 2][n % 2], x, w[n]);
    }
  }
  for (int m = 0; m < PAIRS; m++)
    for (int n = 0; n < N; n++) exchange(square[m][n][0], square[m][n][1]);
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) sums[m][n] = square[m / 2][n][m % 2];
}

