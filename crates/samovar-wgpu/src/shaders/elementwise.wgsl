// Functions of single numbers. OP: 0 the activation, 1 the activation of a sum, 2 of a product, where what is on the right
// repeats; 3 a constant; 4 of the larger, 5 of the smaller.
#include common
#include activation
struct Params {
  grid_x: u32, groups: u32, zero: u32,
  len: u32, a_first: u32, b_first: u32, b_len: u32, out_first: u32,
  value: f32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let i = group_index(wg) * 256u + t;
  if (i >= p.len) { return; }
#if OP == 0
  let y = a[p.a_first + i];
#end
#if OP == 1
  let y = a[p.a_first + i] + b[p.b_first + i % p.b_len];
#end
#if OP == 2
  let y = a[p.a_first + i] * b[p.b_first + i % p.b_len];
#end
#if OP == 4
  let y = max(a[p.a_first + i], b[p.b_first + i % p.b_len]);
#end
#if OP == 5
  let y = min(a[p.a_first + i], b[p.b_first + i % p.b_len]);
#end
#if OP == 3
  let y = p.value;
#end
  out[p.out_first + i] = activate(y);
}
