// Rows by their places; one invocation a number.
#include common
struct Params {
  grid_x: u32, groups: u32, zero: u32,
  len: u32, count: u32, channels: u32, rows: u32, x_batch: u32, x_first: u32, places_first: u32, places_row: u32, out_first: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> places: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let i = group_index(wg) * 256u + t;
  if (i >= p.len) { return; }
  let line = i / p.channels;
  let batch = line / p.count;
  let place = places[p.places_first + batch * p.places_row + line - batch * p.count];
  // Whatever a number that is none is cut to.
  let row = min(u32(clamp(place, 0.0, f32(p.rows - 1u))), p.rows - 1u);
  out[p.out_first + i] = x[p.x_first + (batch % p.x_batch * p.rows + row) * p.channels + i - line * p.channels];
}
