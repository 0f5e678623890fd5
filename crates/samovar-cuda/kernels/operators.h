// The operators without matrix products, one thread for a number or one warp for a row.
#pragma once
#include "numbers.h"

typedef unsigned long long u64;
// Every number of a result once, whatever the grid.
#define EACH(i, count) for (u64 i = blockIdx.x * (u64)blockDim.x + threadIdx.x; i < (count); i += gridDim.x * (u64)blockDim.x)

struct DepthwiseArgs {
  const float *x, *w, *bias;  // w: [kernel * kernel, channels]
  float* out;
  Ending ending;
  u64 count;
  unsigned height, width, channels, out_height, out_width, kernel, stride, padding, dilation, pad;
};
DEVICE void depthwise_numbers(const DepthwiseArgs& a) {
  EACH(i, a.count) {
    unsigned c = i % a.channels;
    u64 row = i / a.channels;
    unsigned ox = row % a.out_width, oy = row / a.out_width % a.out_height;
    u64 b = row / a.out_width / a.out_height;
    float sum = 0.f;
    for (unsigned ky = 0; ky < a.kernel; ky++) {
      int y = (int)(oy * a.stride + ky * a.dilation) - (int)a.padding;
      if (y < 0 || y >= (int)a.height) continue;
      for (unsigned kx = 0; kx < a.kernel; kx++) {
        int x = (int)(ox * a.stride + kx * a.dilation) - (int)a.padding;
        if (x < 0 || x >= (int)a.width) continue;
        sum += a.x[((b * a.height + y) * a.width + x) * a.channels + c] * a.w[(ky * a.kernel + kx) * a.channels + c];
      }
    }
    if (a.bias) sum += a.bias[c];
    a.out[i] = finish(a.ending, sum, (unsigned)row, c, a.channels);
  }
}

struct DepthToSpaceArgs {
  const float* x;
  float* out;
  Ending ending;
  u64 count;
  unsigned height, width, factor, channels;
};
DEVICE void depth_to_space_numbers(const DepthToSpaceArgs& a) {
  EACH(i, a.count) {
    unsigned c = i % a.channels;
    u64 row = i / a.channels;
    unsigned columns = a.width * a.factor, lines = a.height * a.factor;
    unsigned x = row % columns, y = row / columns % lines;
    u64 b = row / columns / lines;
    unsigned tap = y % a.factor * a.factor + x % a.factor;
    u64 from = (((b * a.height + y / a.factor) * a.width + x / a.factor) * a.factor * a.factor + tap) * a.channels + c;
    a.out[i] = finish(a.ending, a.x[from], (unsigned)row, c, a.channels);
  }
}

struct NormArgs {
  const float *x, *gamma, *beta;
  float* out;
  u64 rows;
  unsigned channels;
  float epsilon;
  unsigned activation, pad;
};
// A warp for a row: the mean first, then the deviation from it.
DEVICE void norm_rows(const NormArgs& a) {
  u64 row = blockIdx.x * 8ull + threadIdx.x / 32;
  unsigned lane = threadIdx.x % 32;
  if (row >= a.rows) return;
  const float* x = a.x + row * a.channels;
  float sum = 0.f, squares = 0.f;
  for (unsigned c = lane; c < a.channels; c += 32) sum += x[c];
  for (int mask = 16; mask; mask >>= 1) sum += shuffle_xor(sum, mask);
  float mean = sum / (float)a.channels;
  // What the mean was rounded by comes back in the sum of deviations.
  float left = 0.f;
  for (unsigned c = lane; c < a.channels; c += 32) {
    float d = x[c] - mean;
    left += d;
    squares += d * d;
  }
  for (int mask = 16; mask; mask >>= 1) {
    left += shuffle_xor(left, mask);
    squares += shuffle_xor(squares, mask);
  }
  left /= (float)a.channels;
  float scale = 1.f / sqrtf(fmaxf(squares / (float)a.channels - left * left, 0.f) + a.epsilon);
  for (unsigned c = lane; c < a.channels; c += 32) a.out[row * a.channels + c] = activate(a.activation, (x[c] - mean - left) * scale * a.gamma[c] + a.beta[c]);
}

struct BinaryArgs {
  const float *a_, *b;
  float* out;
  u64 count, b_count;
  unsigned op, activation;  // 0 adds, 1 multiplies, 2 has no b, 3 takes the larger, 4 the smaller
};
DEVICE void binary_numbers(const BinaryArgs& a) {
  EACH(i, a.count) {
    float v = a.a_[i];
    if (a.op == 0) v += a.b[i % a.b_count];
    if (a.op == 1) v *= a.b[i % a.b_count];
    if (a.op == 3) v = fmaxf(v, a.b[i % a.b_count]);
    if (a.op == 4) v = fminf(v, a.b[i % a.b_count]);
    a.out[i] = activate(a.activation, v);
  }
}

struct ResizeArgs {
  const float* x;
  float* out;
  u64 count;
  unsigned height, width, channels, out_height, out_width, bilinear;
};
// The two cells around a place, and the weight of the second.
DEVICE void resize_taps(unsigned place, unsigned out_side, unsigned side, unsigned bilinear, unsigned& first, unsigned& second, float& weight) {
  float scale = (float)side / (float)out_side;
  if (!bilinear) {
    first = second = min((unsigned)multiply_rounded((float)place, scale), side - 1);
    weight = 0.f;
    return;
  }
  float position = fmaxf(add_rounded(multiply_rounded((float)place + 0.5f, scale), -0.5f), 0.f);
  first = min((unsigned)position, side - 1);
  second = min(first + 1, side - 1);
  weight = position - (float)first;
}
DEVICE void resize_numbers(const ResizeArgs& a) {
  EACH(i, a.count) {
    unsigned c = i % a.channels;
    u64 row = i / a.channels;
    unsigned ox = row % a.out_width, oy = row / a.out_width % a.out_height;
    u64 b = row / a.out_width / a.out_height;
    unsigned y0, y1, x0, x1;
    float fy, fx;
    resize_taps(oy, a.out_height, a.height, a.bilinear, y0, y1, fy);
    resize_taps(ox, a.out_width, a.width, a.bilinear, x0, x1, fx);
    const float* map = a.x + b * a.height * a.width * a.channels + c;
    if (!a.bilinear) {
      a.out[i] = map[((u64)y0 * a.width + x0) * a.channels];
      continue;
    }
    float upper = map[((u64)y0 * a.width + x0) * a.channels] * (1.f - fx) + map[((u64)y0 * a.width + x1) * a.channels] * fx;
    float lower = map[((u64)y1 * a.width + x0) * a.channels] * (1.f - fx) + map[((u64)y1 * a.width + x1) * a.channels] * fx;
    a.out[i] = upper * (1.f - fy) + lower * fy;
  }
}

struct PoolArgs {
  const float* x;
  float* out;
  u64 count;
  unsigned height, width, columns, channels, out_height, out_width, factor, pad;
};
DEVICE void pool_numbers(const PoolArgs& a) {
  EACH(i, a.count) {
    unsigned c = i % a.channels;
    u64 row = i / a.channels;
    unsigned ox = row % a.out_width, oy = row / a.out_width % a.out_height;
    u64 b = row / a.out_width / a.out_height;
    float most = -infinity();
    for (unsigned dy = 0; dy < a.factor; dy++)
      for (unsigned dx = 0; dx < a.factor; dx++)
        most = fmaxf(most, a.x[((b * a.height + oy * a.factor + dy) * a.width + ox * a.factor + dx) * a.columns + c]);
    a.out[i] = most;
  }
}

struct FourierArgs { const float *x, *gaussian; float* out; u64 count; unsigned features, pad; };
// An angle less whole turns. 2 pi in three parts: the first two have so few bits that their products with whole numbers are exact.
DEVICE float within_half_a_turn(float phase) {
  float turns = (float)nearest_int(phase * 0.15915494309189535f);
  return ((phase - turns * 6.28125f) - turns * 1.9350051879882812e-3f) - turns * 3.0199159819567529e-7f;
}
DEVICE void fourier_numbers(const FourierArgs& a) {
  EACH(i, a.count) {
    unsigned f = i % a.features;
    u64 row = i / a.features;
    // The phase is large, so how it is rounded is part of the model.
    float x = add_rounded(multiply_rounded(2.f, a.x[row * 2]), -1.f), y = add_rounded(multiply_rounded(2.f, a.x[row * 2 + 1]), -1.f);
    float phase = multiply_rounded(add_rounded(multiply_rounded(x, a.gaussian[f]), multiply_rounded(y, a.gaussian[a.features + f])), 6.2831853071795865f);
    float angle = within_half_a_turn(phase);
    a.out[row * 2 * a.features + f] = sine(angle);
    a.out[row * 2 * a.features + a.features + f] = cosine(angle);
  }
}

struct RotateArgs { const float *x, *table; float* out; u64 count; unsigned half, x_stride; u64 table_rows; };
DEVICE void rotate_numbers(const RotateArgs& a) {
  EACH(i, a.count) {
    unsigned c = i % a.half;
    u64 row = i / a.half;
    const float* x = a.x + row * a.x_stride;
    const float* angles = a.table + row % a.table_rows * 2 * a.half;
    float first = x[c], second = x[a.half + c], cos = angles[c], sin = angles[a.half + c];
    float* to = a.out + row * 2 * a.half;
    to[c] = first * cos - second * sin;
    to[a.half + c] = first * sin + second * cos;
  }
}

// Rows of `len` numbers: entry r of `from_count`, which repeat, goes to place r.
struct CopyRowsArgs { const float* x; float* out; u64 count, len, from_rows, from_stride, to_stride; };
DEVICE void copy_rows_numbers(const CopyRowsArgs& a) {
  EACH(i, a.count) {
    u64 row = i / a.len, c = i % a.len;
    a.out[row * a.to_stride + c] = a.x[row % a.from_rows * a.from_stride + c];
  }
}

struct TransposeArgs { const float* x; float* out; unsigned rows, columns, row_blocks, column_blocks; };
// Squares of 32 x 32 numbers through shared memory, by 32 x 8 threads.
DEVICE void transpose_squares(const TransposeArgs& a) {
  float* square = (float*)shared_memory();
  unsigned block = blockIdx.x, tx = threadIdx.x % 32, ty = threadIdx.x / 32;
  unsigned c0 = block % a.column_blocks * 32, r0 = block / a.column_blocks % a.row_blocks * 32;
  u64 map = block / a.column_blocks / a.row_blocks * (u64)a.rows * a.columns;
  for (unsigned y = ty; y < 32; y += 8)
    if (r0 + y < a.rows && c0 + tx < a.columns) square[y * 33 + tx] = a.x[map + (u64)(r0 + y) * a.columns + c0 + tx];
  __syncthreads();
  for (unsigned y = ty; y < 32; y += 8)
    if (c0 + y < a.columns && r0 + tx < a.rows) a.out[map + (u64)(c0 + y) * a.rows + r0 + tx] = square[tx * 33 + y];
}

struct FillArgs { float* out; u64 count; float value; unsigned pad; };
DEVICE void fill_numbers(const FillArgs& a) {
  EACH(i, a.count) a.out[i] = a.value;
}
