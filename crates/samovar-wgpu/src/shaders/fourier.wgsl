// Random Fourier features of positions: with p = 2 pi (2 x - 1) G the row [sin p, cos p]; one invocation a pair. Phases are
// rounded as upstream's are, and sine and cosine are our own: those of the hardware are made for small angles.
#include common
struct Params {
  grid_x: u32, groups: u32, zero: u32,
  rows: u32, features: u32, x_first: u32, g_first: u32, out_first: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> gaussian: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

// (-1)^parity sin(x - n pi), for |x - n pi| <= pi / 2.
fn half_wave(phase: f32, n: f32, parity: f32) -> f32 {
  // Pi in three parts, the first two with few bits so that their products with n are exact.
  var r = rounded(phase - n * 3.140625);
  r = rounded(r - n * 9.6702576e-4);
  r = rounded(r - n * 6.277114e-7);
  let square = r * r;
  // Taylor up to the eleventh power; at pi / 2 the next term is 6e-8.
  var s = -2.5052108e-8;
  s = fma(s, square, 2.7557319e-6);
  s = fma(s, square, -1.984127e-4);
  s = fma(s, square, 8.333333e-3);
  s = fma(s, square, -1.6666667e-1);
  let sine = fma(s * square, r, r);
  let odd = abs(parity * 0.5 - round(parity * 0.5));
  return sine * fma(odd, -4.0, 1.0);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let i = group_index(wg) * 256u + t;
  if (i >= p.rows * p.features) { return; }
  let row = i / p.features;
  let f = i - row * p.features;
  let at = p.x_first + 2u * row;
  let u = rounded(2.0 * x[at]) - 1.0;
  let v = rounded(2.0 * x[at + 1u]) - 1.0;
  let turns = rounded(u * gaussian[p.g_first + f]) + rounded(v * gaussian[p.g_first + p.features + f]);
  let phase = rounded(turns * 6.2831855);
  let halves = phase * 0.31830987;
  let n = round(halves);
  let m = round(halves + 0.5);
  let to = p.out_first + row * 2u * p.features + f;
  out[to] = half_wave(phase, n, n);
  out[to + p.features] = half_wave(phase, m - 0.5, m);
}
