// Activations, endings of products, and 16-bit pieces of f32.
#pragma once
#include "gpu.h"

// As `Activation` is numbered in src/args.rs.
DEVICE float activate(unsigned activation, float v) {
  switch (activation) {
    case 1: return fmaxf(v, 0.f);
    case 2: return fminf(fmaxf(v, 0.f), 6.f);
    case 3: return 0.5f * v * (1.f + erff(v * 0.70710678118654752f));
    case 4: return 1.f / (1.f + expf(-v));
    case 5: return v / (1.f + expf(-v));
    default: return v;
  }
}

struct Ending {
  const float* residual;  // [residual_rows, columns], whose rows repeat; or null
  unsigned residual_rows;
  unsigned before_activation;
  unsigned activation;
  unsigned pad;
};

// `row` and `column` of a result with so many columns.
DEVICE float finish(const Ending& e, float v, unsigned row, unsigned column, unsigned columns) {
  if (!e.residual) return activate(e.activation, v);
  float r = e.residual[(unsigned long long)(row % e.residual_rows) * columns + column];
  return e.before_activation ? activate(e.activation, v + r) : activate(e.activation, v) + r;
}

DEVICE unsigned pack(unsigned short lower, unsigned short upper) { return lower | (unsigned)upper << 16; }

// An f32 as a sum of bfloat16 numbers: two of them hold 16 of its bits, three all 24.
template <int PIECES> DEVICE void split_bf16(float v, unsigned short (&piece)[PIECES]) {
  UNROLL
  for (int p = 0; p < PIECES; p++) {
    piece[p] = bits_of_bf16(v);
    v -= float_of_bf16(piece[p]);
  }
}

// Four numbers into so many planes of 16-bit pieces.
template <int PIECES, bool HALF> DEVICE void store_pieces(unsigned short* to, unsigned plane, float4 v) {
  unsigned short x[PIECES], y[PIECES], z[PIECES], w[PIECES];
  if (HALF) {
    x[0] = bits_of_f16(v.x); y[0] = bits_of_f16(v.y); z[0] = bits_of_f16(v.z); w[0] = bits_of_f16(v.w);
  } else {
    split_bf16(v.x, x); split_bf16(v.y, y); split_bf16(v.z, z); split_bf16(v.w, w);
  }
  UNROLL
  for (int p = 0; p < PIECES; p++) {
    uint2 both;
    both.x = pack(x[p], y[p]);
    both.y = pack(z[p], w[p]);
    *(uint2*)(to + p * plane) = both;
  }
}
