// Copies stretches: number i of stretch s goes from s * from_step + i, modulo the length of the source, to s * to_step + i.
// One invocation a number.
#include common
struct Params {
  grid_x: u32, groups: u32, zero: u32,
  len: u32, stretch: u32, x_first: u32, from_step: u32, from_len: u32, out_first: u32, to_step: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let i = group_index(wg) * 256u + t;
  if (i >= p.len) { return; }
  let s = i / p.stretch;
  let c = i - s * p.stretch;
  out[p.out_first + s * p.to_step + c] = x[p.x_first + s * p.from_step % p.from_len + c];
}
