// The k largest numbers of rows, and their places. Every number counts those of its row that come before it: no sorting, and no
// order of invocations that results could depend on.
#include common
struct Params {
  grid_x: u32, groups: u32, zero: u32,
  len: u32, columns: u32, k: u32, x_first: u32, out_first: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

// A whole number in the order of floats: zeros are one, and what is not a number is the smallest, as minus infinity.
fn rank(value: f32) -> u32 {
  var bits = bitcast<u32>(value);
  let size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) { bits = 0xff800000u; }
  if (size == 0u) { bits = 0u; }
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let i = group_index(wg) * 256u + t;
  if (i >= p.len) { return; }
  let row = i / p.columns;
  let place = i - row * p.columns;
  let first = p.x_first + row * p.columns;
  let own = rank(x[first + place]);
  var before = 0u;
  for (var c = 0u; c < p.columns; c++) {
    let other = rank(x[first + c]);
    before += select(0u, 1u, other > own || (other == own && c < place));
  }
  if (before < p.k) {
    let to = p.out_first + row * 2u * p.k + before;
    out[to] = x[first + place];
    out[to + p.k] = f32(place);
  }
}
