// The largest number of every square of cells, in some columns of a map; one invocation a number.
#include common
struct Params {
  grid_x: u32, groups: u32, zero: u32,
  len: u32, height: u32, width: u32, columns: u32, channels: u32, out_height: u32, out_width: u32, factor: u32,
  x_first: u32, out_first: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let i = group_index(wg) * 256u + t;
  if (i >= p.len) { return; }
  let pixel = i / p.channels;
  let c = i - pixel * p.channels;
  let line = pixel / p.out_width;
  let ox = pixel - line * p.out_width;
  let image = line / p.out_height;
  let oy = line - image * p.out_height;
  let first = p.x_first + ((image * p.height + oy * p.factor) * p.width + ox * p.factor) * p.columns + c;
  var largest = x[first];
  for (var y = 0u; y < p.factor; y++) {
    for (var x_ = 0u; x_ < p.factor; x_++) {
      largest = max(largest, x[first + (y * p.width + x_) * p.columns]);
    }
  }
  out[p.out_first + i] = largest;
}
