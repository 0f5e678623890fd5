// What detectors need: softmax of rows, the largest numbers of rows, rows by their places, attention to places of maps.
#pragma once
#include "operators.h"

struct SoftmaxArgs { const float* x; float* out; u64 rows; unsigned columns, pad; };
// A warp for a row.
DEVICE void softmax_rows(const SoftmaxArgs& a) {
  u64 row = blockIdx.x * 8ull + threadIdx.x / 32;
  unsigned lane = threadIdx.x % 32;
  if (row >= a.rows) return;
  const float* x = a.x + row * a.columns;
  float most = x[0], sum = 0.f;
  for (unsigned c = lane; c < a.columns; c += 32) most = fmaxf(most, x[c]);
  for (int mask = 16; mask; mask >>= 1) most = fmaxf(most, shuffle_xor(most, mask));
  for (unsigned c = lane; c < a.columns; c += 32) sum += expf(x[c] - most);
  for (int mask = 16; mask; mask >>= 1) sum += shuffle_xor(sum, mask);
  for (unsigned c = lane; c < a.columns; c += 32) a.out[row * a.columns + c] = expf(x[c] - most) / sum;
}

// A whole number in the order of floats: zeros are one, and what is not a number is the smallest, as minus infinity.
DEVICE unsigned rank_of(float v) {
  unsigned bits;
  __builtin_memcpy(&bits, &v, 4);
  unsigned size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) bits = 0xff800000u;
  if (size == 0) bits = 0;
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
struct TopKArgs { const float* x; float* out; u64 count; unsigned columns, k; };
// Every number counts those of its row that come before it: no sorting, and no order of threads that results could depend on.
DEVICE void top_k_numbers(const TopKArgs& a) {
  EACH(i, a.count) {
    u64 row = i / a.columns;
    unsigned place = i % a.columns, before = 0;
    const float* x = a.x + row * a.columns;
    unsigned own = rank_of(x[place]);
    for (unsigned c = 0; c < a.columns; c++) {
      unsigned other = rank_of(x[c]);
      before += other > own || (other == own && c < place);
    }
    if (before >= a.k) continue;
    float* to = a.out + row * 2 * a.k + before;
    to[0] = x[place];
    to[a.k] = (float)place;
  }
}

struct GatherArgs { const float *x, *places; float* out; u64 count; unsigned gathered, channels, rows, x_batch, places_stride, pad; };
DEVICE void gather_numbers(const GatherArgs& a) {
  EACH(i, a.count) {
    unsigned c = i % a.channels;
    u64 line = i / a.channels, b = line / a.gathered;
    float place = a.places[b * a.places_stride + line % a.gathered];
    // Not a number is the first row, as of a conversion that saturates.
    unsigned row = place > 0.f ? (place < (float)a.rows ? min((unsigned)place, a.rows - 1) : a.rows - 1) : 0;
    a.out[i] = a.x[(b % a.x_batch * a.rows + row) * a.channels + c];
  }
}

// One map of several; what the maps before it gave is added (`add`). Weights are the softmax over the places of all maps.
struct DeformableArgs {
  const float *values, *offsets, *logits, *boxes;
  float* out;
  u64 count;
  unsigned queries, heads, channels, cells, points, rows, columns, map_points, first_point, first_cell, offsets_stride, logits_stride, add, pad;
};
// The number of a cell, 0 outside of the map.
DEVICE float cell_of(const DeformableArgs& a, const float* map, float row, float column) {
  if (!(row >= 0.f && row < (float)a.rows && column >= 0.f && column < (float)a.columns)) return 0.f;
  return map[((u64)(unsigned)row * a.columns + (unsigned)column) * a.heads * a.channels];
}
DEVICE void deformable_numbers(const DeformableArgs& a) {
  unsigned width = a.heads * a.channels;
  EACH(i, a.count) {
    u64 row = i / width;
    unsigned within = i % width, head = within / a.channels;
    const float* logits = a.logits + row * a.logits_stride + head * a.points;
    const float* offsets = a.offsets + row * a.offsets_stride + 2 * (head * a.points + a.first_point);
    const float* box = a.boxes + 4 * row;
    const float* map = a.values + (row / a.queries * a.cells + a.first_cell) * width + within;
    float most = logits[0], sum = 0.f, y = 0.f;
    for (unsigned k = 1; k < a.points; k++) most = fmaxf(most, logits[k]);
    for (unsigned k = 0; k < a.points; k++) sum += expf(logits[k] - most);
    for (unsigned k = 0; k < a.map_points; k++) {
      // Which cells a place lies between must not depend on what is fused.
      float x_share = add_rounded(box[0], multiply_rounded(offsets[2 * k], box[2]));
      float y_share = add_rounded(box[1], multiply_rounded(offsets[2 * k + 1], box[3]));
      float x = add_rounded(multiply_rounded(x_share, (float)a.columns), -0.5f);
      float at = add_rounded(multiply_rounded(y_share, (float)a.rows), -0.5f);
      float left = floorf(x), top = floorf(at), right_share = x - left, lower_share = at - top;
      float upper = (1.f - right_share) * cell_of(a, map, top, left) + right_share * cell_of(a, map, top, left + 1.f);
      float lower = (1.f - right_share) * cell_of(a, map, top + 1.f, left) + right_share * cell_of(a, map, top + 1.f, left + 1.f);
      y += expf(logits[a.first_point + k] - most) / sum * ((1.f - lower_share) * upper + lower_share * lower);
    }
    a.out[i] = a.add ? a.out[i] + y : y;
  }
}
