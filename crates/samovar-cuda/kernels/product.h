// Matrix products on the matrix units: out = ending(x wᵀ + bias), dense convolutions included, whose rows are what lies under the
// kernel.
//
// Operands become 16-bit numbers on their way to shared memory. One piece of each is a product of rounded operands; with
// two or three pieces of an f32, and sums of all products of pieces that matter, it is one in f32, on units that have six
// times the throughput of the others at least.
#pragma once
#include "numbers.h"

struct ConvolutionShape { unsigned height, width, inputs, out_height, out_width, kernel, stride, padding, dilation, pad; };

struct ProductArgs {
  const float* x;       // [m, k] with rows `x_stride` apart; of a convolution the map
  const void* w;        // [n, k] with rows `w_stride` apart
  const float* bias;    // [n], or null
  float* out;           // [m, n]
  const float* w_scales;         // of 8-bit weights: [n] factors
  const int* w_sums;             // and [n] sums of their rows
  const struct RowScale* rows;   // of 8-bit products: how each row is rounded
  Ending ending;
  unsigned m, n, k, w_stride;
  unsigned long long x_stride, x_batch, w_batch, out_batch;  // `*_batch`: elements between entries of blockIdx.z
  unsigned first_row;   // of 8-bit products: `rows` begins with this one
  unsigned x_vector, w_vector;  // whether four numbers can be read at once
  unsigned column_blocks;
  ConvolutionShape shape;
};

// How a row of activations becomes 8-bit numbers; see RowScale of samovar-tensor.
struct RowScale { float scale, inverse; int zero; unsigned pad; };

enum WeightKind { W_F32, W_F16, W_BF16 };

// Where a row of x begins. Of a convolution: the corner of what lies under the kernel.
template <bool CONVOLUTION> struct XRow {
  const float* start;
  int y, x;
  bool valid;
};

template <bool CONVOLUTION> DEVICE XRow<CONVOLUTION> x_row(const ProductArgs& a, const float* x, unsigned row) {
  XRow<CONVOLUTION> r;
  r.valid = row < a.m;
  r.x = r.y = 0;
  if (CONVOLUTION) {
    const ConvolutionShape& s = a.shape;
    unsigned ox = row % s.out_width, line = row / s.out_width, oy = line % s.out_height, b = line / s.out_height;
    r.y = (int)(oy * s.stride) - (int)s.padding;
    r.x = (int)(ox * s.stride) - (int)s.padding;
    r.start = x + (unsigned long long)b * s.height * s.width * s.inputs;
  } else {
    r.start = x + (unsigned long long)row * a.x_stride;
  }
  return r;
}

template <bool CONVOLUTION> DEVICE float x_number(const ProductArgs& a, const XRow<CONVOLUTION>& r, unsigned k) {
  if (!r.valid || k >= a.k) return 0.f;
  if (!CONVOLUTION) return r.start[k];
  const ConvolutionShape& s = a.shape;
  unsigned tap = k / s.inputs, channel = k - tap * s.inputs, ky = tap / s.kernel, kx = tap - ky * s.kernel;
  int y = r.y + (int)(ky * s.dilation), xx = r.x + (int)(kx * s.dilation);
  if (y < 0 || xx < 0 || y >= (int)s.height || xx >= (int)s.width) return 0.f;
  return r.start[((unsigned long long)y * s.width + xx) * s.inputs + channel];
}

// Numbers k .. k + 3 of a row; k is a multiple of 4.
template <bool CONVOLUTION> DEVICE float4 x_numbers(const ProductArgs& a, const XRow<CONVOLUTION>& r, unsigned k) {
  if (!a.x_vector) {
    float4 v = make_float4(0.f, 0.f, 0.f, 0.f);
    NO_UNROLL
    for (int e = 0; e < 4; e++) {
      float number = x_number<CONVOLUTION>(a, r, k + e);
      v = make_float4(v.y, v.z, v.w, number);
    }
    return v;
  }
  // Four numbers are within the row, and of a convolution under one cell of the kernel.
  if (!r.valid || k >= a.k) return make_float4(0.f, 0.f, 0.f, 0.f);
  if (!CONVOLUTION) return *(const float4*)(r.start + k);
  const ConvolutionShape& s = a.shape;
  unsigned tap = k / s.inputs, channel = k - tap * s.inputs, ky = tap / s.kernel, kx = tap - ky * s.kernel;
  int y = r.y + (int)(ky * s.dilation), xx = r.x + (int)(kx * s.dilation);
  if (y < 0 || xx < 0 || y >= (int)s.height || xx >= (int)s.width) return make_float4(0.f, 0.f, 0.f, 0.f);
  return *(const float4*)(r.start + ((unsigned long long)y * s.width + xx) * s.inputs + channel);
}

// A tile of sums in shared memory, whose rows are BN + 8 apart, ended and stored: four numbers of a row by each thread. As a loop, because
// an ending is long.
template <int BM, int BN, int THREADS> DEVICE void store_tile(const ProductArgs& a, float* out, const float* tile, unsigned row0, unsigned column0) {
  const bool fours = a.n % 4 == 0 && (unsigned long long)out % 16 == 0;
  NO_UNROLL
  for (unsigned at = threadIdx.x; at < BM * BN / 4; at += THREADS) {
    unsigned r = at / (BN / 4), c = at % (BN / 4) * 4, row = row0 + r, column = column0 + c;
    if (row >= a.m || column >= a.n) continue;
    float4 sums = *(const float4*)(tile + r * (BN + 8) + c);
    float v[4] = {sums.x, sums.y, sums.z, sums.w};
    float* to = out + (unsigned long long)row * a.n + column;
    UNROLL
    for (int e = 0; e < 4; e++) {
      if (column + e >= a.n) continue;
      if (a.bias) v[e] = add_rounded(v[e], a.bias[column + e]);
      v[e] = finish(a.ending, v[e], row, column + e, a.n);
      if (!fours) to[e] = v[e];
    }
    if (fours) *(float4*)to = make_float4(v[0], v[1], v[2], v[3]);
  }
}
DEVICE void put_pair(float* to, float first, float second) {
  float2 both;
  both.x = first;
  both.y = second;
  *(float2*)to = both;
}

// Tiles of BM x BN numbers, BK = 32 deep, by WARPS_M x WARPS_N warps. XP and WP: pieces of the operands. HALF: they are f16.
template <int XP, int WP, WeightKind W, bool HALF, bool CONVOLUTION, int BM, int BN, int WARPS_M, int WARPS_N> struct Product {
  static const int BK = 32, STRIDE = BK + 8, THREADS = WARPS_M * WARPS_N * 32;
  static const int X_PLANE = BM * STRIDE, W_PLANE = BN * STRIDE, STAGE = XP * X_PLANE + WP * W_PLANE;
  static const int SHARED_BYTES = 2 * STAGE * 2;
  // Eight threads read a row of 32 numbers.
  static const int X_ROWS = BM * 8 / THREADS, W_ROWS = BN * 8 / THREADS, ROW_STEP = THREADS / 8;
  static const int MI = BM / WARPS_M / 16, NJ = BN / WARPS_N / 8;
  static const bool PIECES = XP * WP > 1;
  // Weights that are in shared memory what they are in memory are copied there.
  static const bool COPIED = WP == 1 && W != W_F32;

  static DEVICE void run(const ProductArgs& a) {
    unsigned short* tiles = (unsigned short*)shared_memory();
    const unsigned thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const unsigned warp_m = warp / WARPS_N * (BM / WARPS_M), warp_n = warp % WARPS_N * (BN / WARPS_N);
    const unsigned row0 = blockIdx.x / a.column_blocks * BM, column0 = blockIdx.x % a.column_blocks * BN;
    const float* x = a.x + blockIdx.z * a.x_batch;
    const unsigned short* w16 = (const unsigned short*)a.w + blockIdx.z * a.w_batch;
    const float* w32 = (const float*)a.w + blockIdx.z * a.w_batch;
    const unsigned my_row = thread / 8, my_k = thread % 8 * 4;

    XRow<CONVOLUTION> rows[X_ROWS];
    UNROLL
    for (int i = 0; i < X_ROWS; i++) rows[i] = x_row<CONVOLUTION>(a, x, row0 + my_row + i * ROW_STEP);

    // Matrix units cut sums off instead of rounding them, always towards zero. So products of the largest pieces are summed 32 deep and these
    // sums added outside; those of all others are small, and what is cut off them is nothing.
    float acc[MI][NJ][4], part[PIECES ? MI : 1][PIECES ? NJ : 1][4], rest[PIECES ? MI : 1][PIECES ? NJ : 1][4];
    UNROLL
    for (int i = 0; i < MI; i++)
      UNROLL
      for (int j = 0; j < NJ; j++)
        UNROLL
        for (int e = 0; e < 4; e++) acc[i][j][e] = part[PIECES ? i : 0][PIECES ? j : 0][e] = rest[PIECES ? i : 0][PIECES ? j : 0][e] = 0.f;

    float4 x_next[X_ROWS], w_next[COPIED ? 1 : W_ROWS];
    auto read = [&](unsigned k0, unsigned short* stage) {
      UNROLL
      for (int i = 0; i < X_ROWS; i++) x_next[i] = x_numbers<CONVOLUTION>(a, rows[i], k0 + my_k);
      if (COPIED) {
        unsigned short* to = stage + XP * X_PLANE;
        UNROLL
        for (int i = 0; i < BN * BK / 8 / THREADS; i++) {
          unsigned chunk = thread + i * THREADS, r = chunk / (BK / 8), c = chunk % (BK / 8) * 8;
          bool inside = column0 + r < a.n && k0 + c < a.w_stride;
          const unsigned short* from = inside ? w16 + (unsigned long long)(column0 + r) * a.w_stride + k0 + c : w16;
          cp_async_16(to + r * STRIDE + c, from, inside ? 16 : 0);
        }
        cp_async_commit();
      } else {
        UNROLL
        for (int i = 0; i < (COPIED ? 1 : W_ROWS); i++) {
          unsigned r = column0 + my_row + i * ROW_STEP, k = k0 + my_k;
          float4 v = make_float4(0.f, 0.f, 0.f, 0.f);
          if (r < a.n && k < a.k) {
            unsigned long long at = (unsigned long long)r * a.w_stride + k;
            if (W == W_F32) {
              if (a.w_vector) v = *(const float4*)(w32 + at);
              else {
                v.x = w32[at];
                if (k + 1 < a.k) v.y = w32[at + 1];
                if (k + 2 < a.k) v.z = w32[at + 2];
                if (k + 3 < a.k) v.w = w32[at + 3];
              }
            } else {
              // Packed rows of 16-bit weights end with zeros, at a multiple of eight.
              uint2 both = *(const uint2*)(w16 + at);
              v = make_float4(float_of_f16(both.x & 0xffff), float_of_f16(both.x >> 16), float_of_f16(both.y & 0xffff), float_of_f16(both.y >> 16));
            }
          }
          w_next[i] = v;
        }
      }
    };
    auto store = [&](unsigned short* stage) {
      UNROLL
      for (int i = 0; i < X_ROWS; i++) store_pieces<XP, HALF>(stage + (my_row + i * ROW_STEP) * STRIDE + my_k, X_PLANE, x_next[i]);
      if (!COPIED) {
        UNROLL
        for (int i = 0; i < (COPIED ? 1 : W_ROWS); i++)
          store_pieces<WP, false>(stage + XP * X_PLANE + (my_row + i * ROW_STEP) * STRIDE + my_k, W_PLANE, w_next[i]);
      }
    };

    const unsigned steps = (a.k + BK - 1) / BK;
    if (steps) {
      read(0, tiles);
      store(tiles);
      if (COPIED) cp_async_wait<0>();
    }
    __syncthreads();
    for (unsigned s = 0; s < steps; s++) {
      unsigned short* stage = tiles + (s & 1) * STAGE;
      unsigned short* next = tiles + (~s & 1) * STAGE;
      if (s + 1 < steps) read((s + 1) * BK, next);
      UNROLL
      for (int kk = 0; kk < BK; kk += 16) {
        unsigned wf[WP][NJ / 2][4];
        UNROLL
        for (int q = 0; q < WP; q++)
          UNROLL
          for (int j = 0; j < NJ / 2; j++)
            ldmatrix_x4(wf[q][j], stage + XP * X_PLANE + q * W_PLANE + (warp_n + j * 16 + lane % 8 + lane / 16 * 8) * STRIDE + kk + lane / 8 % 2 * 8);
        UNROLL
        for (int i = 0; i < MI; i++) {
          unsigned xf[XP][4];
          UNROLL
          for (int p = 0; p < XP; p++) ldmatrix_x4(xf[p], stage + p * X_PLANE + (warp_m + i * 16 + lane % 16) * STRIDE + kk + lane / 16 * 8);
          UNROLL
          for (int p = 0; p < XP; p++)
            UNROLL
            for (int q = 0; q < WP; q++) {
              // Below the last bit.
              if (p + q > 2) continue;
              UNROLL
              for (int j = 0; j < NJ; j++) {
                float(&to)[4] = !PIECES ? acc[i][j] : p + q > 0 ? rest[PIECES ? i : 0][PIECES ? j : 0] : part[PIECES ? i : 0][PIECES ? j : 0];
                if (HALF) mma_f16(to, xf[p], wf[q][j / 2][j % 2 * 2], wf[q][j / 2][j % 2 * 2 + 1]);
                else mma_bf16(to, xf[p], wf[q][j / 2][j % 2 * 2], wf[q][j / 2][j % 2 * 2 + 1]);
              }
            }
        }
      }
      if (PIECES) {
        UNROLL
        for (int i = 0; i < MI; i++)
          UNROLL
          for (int j = 0; j < NJ; j++)
            UNROLL
            for (int e = 0; e < 4; e++) {
              float& sum = part[PIECES ? i : 0][PIECES ? j : 0][e];
              acc[i][j][e] += sum;
              sum = 0.f;
            }
      }
      if (s + 1 < steps) {
        store(next);
        if (COPIED) cp_async_wait<0>();
      }
      __syncthreads();
    }

    // All are done with the operands' tiles.
    float* sums = (float*)tiles;
    UNROLL
    for (int i = 0; i < MI; i++)
      UNROLL
      for (int half = 0; half < 2; half++)
        UNROLL
        for (int j = 0; j < NJ; j++) {
          const float* more = rest[PIECES ? i : 0][PIECES ? j : 0];
          float first = acc[i][j][half * 2], second = acc[i][j][half * 2 + 1];
          if (PIECES) {
            first += more[half * 2];
            second += more[half * 2 + 1];
          }
          put_pair(sums + (warp_m + i * 16 + lane / 4 + half * 8) * (BN + 8) + warp_n + j * 8 + lane % 4 * 2, first, second);
        }
    __syncthreads();
    store_tile<BM, BN, THREADS>(a, a.out + blockIdx.z * a.out_batch, sums, row0, column0);
  }
};

// Both operands as 16-bit numbers in memory: tiles of 128 x 128, 32 deep, four of them on their way, by 2 x 4 warps. `x` holds rows from
// `first_row` on, `w_stride` apart as those of the weights.
template <bool HALF> struct Product16 {
  static const int BM = 128, BN = 128, BK = 32, STRIDE = BK + 8, THREADS = 256, STAGES = 4;
  static const int STAGE = (BM + BN) * STRIDE, SHARED_BYTES = STAGES * STAGE * 2;

  static DEVICE void run(const ProductArgs& a) {
    unsigned short* tiles = (unsigned short*)shared_memory();
    const unsigned thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const unsigned warp_m = warp / 4 * 64, warp_n = warp % 4 * 32;
    const unsigned row0 = a.first_row + blockIdx.x / a.column_blocks * BM, column0 = blockIdx.x % a.column_blocks * BN;
    const unsigned short *x = (const unsigned short*)a.x, *w = (const unsigned short*)a.w;
    // Two chunks of eight numbers of each operand.
    const unsigned my_row = thread / 4, my_k = thread % 4 * 8;
    const unsigned short *x_rows[2], *w_rows[2];
    UNROLL
    for (int i = 0; i < 2; i++) {
      unsigned r = row0 + my_row + i * 64, c = column0 + my_row + i * 64;
      x_rows[i] = r < a.m ? x + (unsigned long long)(r - a.first_row) * a.w_stride : nullptr;
      w_rows[i] = c < a.n ? w + (unsigned long long)c * a.w_stride : nullptr;
    }
    float acc[4][4][4];
    UNROLL
    for (int i = 0; i < 4; i++)
      UNROLL
      for (int j = 0; j < 4; j++)
        UNROLL
        for (int e = 0; e < 4; e++) acc[i][j][e] = 0.f;
    const unsigned steps = (a.k + BK - 1) / BK;
    auto fetch = [&](unsigned step) {
      if (step < steps) {
        unsigned short* stage = tiles + step % STAGES * STAGE;
        unsigned k = step * BK + my_k;
        UNROLL
        for (int i = 0; i < 2; i++) {
          unsigned to = (my_row + i * 64) * STRIDE + my_k;
          bool inside = k < a.w_stride;
          cp_async_16(stage + to, x_rows[i] && inside ? x_rows[i] + k : x, x_rows[i] && inside ? 16 : 0);
          cp_async_16(stage + BM * STRIDE + to, w_rows[i] && inside ? w_rows[i] + k : w, w_rows[i] && inside ? 16 : 0);
        }
      }
      // Also where there was nothing to fetch: what is waited for is counted.
      cp_async_commit();
    };
    UNROLL
    for (int s = 0; s < STAGES - 1; s++) fetch(s);
    for (unsigned s = 0; s < steps; s++) {
      cp_async_wait<STAGES - 2>();
      // All have their parts of this tile, and all are done with the one that the next takes the place of.
      __syncthreads();
      fetch(s + STAGES - 1);
      const unsigned short* stage = tiles + s % STAGES * STAGE;
      UNROLL
      for (int kk = 0; kk < BK; kk += 16) {
        unsigned wf[2][4];
        UNROLL
        for (int j = 0; j < 2; j++) ldmatrix_x4(wf[j], stage + (BM + warp_n + j * 16 + lane % 8 + lane / 16 * 8) * STRIDE + kk + lane / 8 % 2 * 8);
        UNROLL
        for (int i = 0; i < 4; i++) {
          unsigned xf[4];
          ldmatrix_x4(xf, stage + (warp_m + i * 16 + lane % 16) * STRIDE + kk + lane / 16 * 8);
          UNROLL
          for (int j = 0; j < 4; j++) {
            if (HALF) mma_f16(acc[i][j], xf, wf[j / 2][j % 2 * 2], wf[j / 2][j % 2 * 2 + 1]);
            else mma_bf16(acc[i][j], xf, wf[j / 2][j % 2 * 2], wf[j / 2][j % 2 * 2 + 1]);
          }
        }
      }
    }
    cp_async_wait<0>();
    __syncthreads();
    float* sums = (float*)tiles;
    UNROLL
    for (int i = 0; i < 4; i++)
      UNROLL
      for (int half = 0; half < 2; half++)
        UNROLL
        for (int j = 0; j < 4; j++)
          put_pair(sums + (warp_m + i * 16 + lane / 4 + half * 8) * (BN + 8) + warp_n + j * 8 + lane % 4 * 2, acc[i][j][half * 2], acc[i][j][half * 2 + 1]);
    __syncthreads();
    store_tile<BM, BN, THREADS>(a, a.out, sums, row0, column0);
  }
};

// Rows first_row .. first_row + count as 16-bit numbers, `w_stride` apart and filled up with zeros, a thread for four.
struct RoundRowsArgs { ProductArgs product; unsigned short* to; unsigned count, pad; };
template <bool HALF, bool CONVOLUTION> DEVICE void round_rows(const RoundRowsArgs& a) {
  const ProductArgs& p = a.product;
  unsigned fours = p.w_stride / 4;
  unsigned long long all = (unsigned long long)a.count * fours;
  for (unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x; i < all; i += gridDim.x * (unsigned long long)blockDim.x) {
    unsigned row = (unsigned)(i / fours), k = (unsigned)(i % fours) * 4;
    XRow<CONVOLUTION> place = x_row<CONVOLUTION>(p, p.x, p.first_row + row);
    store_pieces<1, HALF>(a.to + (unsigned long long)row * p.w_stride + k, 0, x_numbers<CONVOLUTION>(p, place, k));
  }
}

// Weights and activations of 8 bits: 64 x 64 numbers, 64 deep, by 2 x 2 warps.
template <bool CONVOLUTION> struct Product8 {
  static const int BM = 64, BN = 64, BK = 64, STRIDE = BK + 16, THREADS = 128;
  static const int STAGE = (BM + BN) * STRIDE, SHARED_BYTES = 2 * STAGE;
  static const int X_ROWS = BM * 16 / THREADS, ROW_STEP = THREADS / 16;

  static DEVICE void run(const ProductArgs& a) {
    unsigned char* tiles = shared_memory();
    const unsigned thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const unsigned warp_m = warp / 2 * 32, warp_n = warp % 2 * 32;
    const unsigned row0 = a.first_row + blockIdx.x / a.column_blocks * BM, column0 = blockIdx.x % a.column_blocks * BN;
    const unsigned char* w = (const unsigned char*)a.w;
    const unsigned my_row = thread / 16, my_k = thread % 16 * 4;
    XRow<CONVOLUTION> places[X_ROWS];
    RowScale scales[X_ROWS];
    UNROLL
    for (int i = 0; i < X_ROWS; i++) {
      unsigned row = row0 + my_row + i * ROW_STEP;
      places[i] = x_row<CONVOLUTION>(a, a.x, row);
      scales[i] = a.rows[min(row, a.m - 1) - a.first_row];
    }
    int acc[2][4][4];
    UNROLL
    for (int i = 0; i < 2; i++)
      UNROLL
      for (int j = 0; j < 4; j++)
        UNROLL
        for (int e = 0; e < 4; e++) acc[i][j][e] = 0;

    auto fetch = [&](unsigned k0, unsigned char* stage) {
      UNROLL
      for (int i = 0; i < BN * BK / 16 / THREADS; i++) {
        unsigned chunk = thread + i * THREADS, r = chunk / (BK / 16), c = chunk % (BK / 16) * 16;
        bool inside = column0 + r < a.n && k0 + c < a.w_stride;
        const unsigned char* from = inside ? w + (unsigned long long)(column0 + r) * a.w_stride + k0 + c : w;
        cp_async_16(stage + BM * STRIDE + r * STRIDE + c, from, inside ? 16 : 0);
      }
      cp_async_commit();
      UNROLL
      for (int i = 0; i < X_ROWS; i++) {
        unsigned r = my_row + i * ROW_STEP;
        float4 v = x_numbers<CONVOLUTION>(a, places[i], k0 + my_k);
        unsigned four = 0;
        if (places[i].valid) {
          const RowScale& s = scales[i];
          auto round = [&](float number) { return (unsigned)min(max(nearest_int(multiply_rounded(number, s.inverse)) + s.zero, 0), 255); };
          four = round(v.x) | round(v.y) << 8 | round(v.z) << 16 | round(v.w) << 24;
        }
        *(unsigned*)(stage + r * STRIDE + my_k) = four;
      }
    };

    const unsigned steps = (a.k + BK - 1) / BK;
    if (steps) fetch(0, tiles);
    cp_async_wait<0>();
    __syncthreads();
    for (unsigned s = 0; s < steps; s++) {
      unsigned char* stage = tiles + (s & 1) * STAGE;
      if (s + 1 < steps) fetch((s + 1) * BK, tiles + (~s & 1) * STAGE);
      UNROLL
      for (int kk = 0; kk < BK; kk += 32) {
        unsigned wf[2][4];
        UNROLL
        for (int j = 0; j < 2; j++) ldmatrix_x4(wf[j], stage + BM * STRIDE + (warp_n + j * 16 + lane % 8 + lane / 16 * 8) * STRIDE + kk + lane / 8 % 2 * 16);
        UNROLL
        for (int i = 0; i < 2; i++) {
          unsigned xf[4];
          ldmatrix_x4(xf, stage + (warp_m + i * 16 + lane % 16) * STRIDE + kk + lane / 16 * 16);
          UNROLL
          for (int j = 0; j < 4; j++) mma_u8_s8(acc[i][j], xf, wf[j / 2][j % 2 * 2], wf[j / 2][j % 2 * 2 + 1]);
        }
      }
      cp_async_wait<0>();
      __syncthreads();
    }
    float* sums = (float*)tiles;
    UNROLL
    for (int i = 0; i < 2; i++)
      UNROLL
      for (int half = 0; half < 2; half++) {
        unsigned r = warp_m + i * 16 + lane / 4 + half * 8;
        RowScale s = a.rows[min(row0 + r, a.m - 1) - a.first_row];
        UNROLL
        for (int j = 0; j < 4; j++) {
          unsigned c = warp_n + j * 8 + lane % 4 * 2;
          float pair[2];
          UNROLL
          for (int e = 0; e < 2; e++) {
            unsigned column = min(column0 + c + e, a.n - 1);
            float v = (float)(acc[i][j][half * 2 + e] - s.zero * a.w_sums[column]);
            pair[e] = multiply_rounded(multiply_rounded(v, s.scale), a.w_scales[column]);
          }
          put_pair(sums + r * (BN + 8) + c, pair[0], pair[1]);
        }
      }
    __syncthreads();
    store_tile<BM, BN, THREADS>(a, a.out, sums, row0, column0);
  }
};

// How rows first_row .. first_row + gridDim.x * 4 are rounded, a warp for each; samovar-tensor's formulas, to the bit.
template <bool CONVOLUTION> DEVICE void scale_rows(const ProductArgs& a, RowScale* to, unsigned count) {
  unsigned index = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (index >= count) return;
  XRow<CONVOLUTION> place = x_row<CONVOLUTION>(a, a.x, a.first_row + index);
  float low = 0.f, high = 0.f, strange = 0.f;
  for (unsigned k = lane; k < a.k; k += 32) {
    float v = x_number<CONVOLUTION>(a, place, k);
    if (!is_finite(v)) strange = 1.f;
    low = fminf(low, v);
    high = fmaxf(high, v);
  }
  for (int mask = 16; mask; mask >>= 1) {
    low = fminf(low, shuffle_xor(low, mask));
    high = fmaxf(high, shuffle_xor(high, mask));
    strange = fmaxf(strange, shuffle_xor(strange, mask));
  }
  if (lane) return;
  RowScale s;
  s.pad = 0;
  float scale = add_rounded(add_rounded(high, -low), multiply_rounded(add_rounded(low, high), 0.f)) / 255.f;
  if (strange != 0.f || !is_finite(scale)) {
    s.scale = not_a_number();
    s.inverse = 0.f;
    s.zero = 0;
  } else if (scale < 1.17549435e-38f) {
    s.scale = s.inverse = 0.f;
    s.zero = 0;
  } else {
    s.scale = scale;
    s.inverse = 1.f / scale;
    s.zero = nearest_int(multiply_rounded(-low, s.inverse));
  }
  to[index] = s;
}

struct ScaleRowsArgs { ProductArgs product; RowScale* to; unsigned count, pad; };
