// Turns pairs of numbers, half a row apart; one invocation a pair.
#include common
struct Params {
  grid_x: u32, groups: u32, zero: u32,
  rows: u32, half: u32, x_first: u32, x_row: u32, table_first: u32, table_rows: u32, out_first: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let i = group_index(wg) * 256u + t;
  if (i >= p.rows * p.half) { return; }
  let row = i / p.half;
  let c = i - row * p.half;
  let at = p.x_first + row * p.x_row + c;
  let angle = p.table_first + row % p.table_rows * 2u * p.half + c;
  let a = x[at];
  let b = x[at + p.half];
  let cosine = table[angle];
  let sine = table[angle + p.half];
  let to = p.out_first + row * 2u * p.half + c;
  out[to] = a * cosine - b * sine;
  out[to + p.half] = a * sine + b * cosine;
}
