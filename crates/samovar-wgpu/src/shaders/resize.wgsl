// Resizes a channels-last map. BILINEAR: 0 the nearest cell, 1 between the centres of cells. One invocation a number. Where
// a result lies in the map is rounded as on the CPU: a fused multiply-add would choose another cell now and then.
#include common
struct Params {
  grid_x: u32, groups: u32, zero: u32,
  len: u32, height: u32, width: u32, channels: u32, out_height: u32, out_width: u32, x_first: u32, out_first: u32,
  scale_y: f32, scale_x: f32,
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
  let map = image * p.height;
#if BILINEAR == 0
  let y = min(u32(f32(oy) * p.scale_y), p.height - 1u);
  let x_ = min(u32(f32(ox) * p.scale_x), p.width - 1u);
  out[p.out_first + i] = x[p.x_first + ((map + y) * p.width + x_) * p.channels + c];
#end
#if BILINEAR == 1
  let at_y = max(rounded((f32(oy) + 0.5) * p.scale_y) - 0.5, 0.0);
  let at_x = max(rounded((f32(ox) + 0.5) * p.scale_x) - 0.5, 0.0);
  let y0 = min(u32(at_y), p.height - 1u);
  let x0 = min(u32(at_x), p.width - 1u);
  let y1 = min(y0 + 1u, p.height - 1u);
  let x1 = min(x0 + 1u, p.width - 1u);
  let fy = at_y - f32(y0);
  let fx = at_x - f32(x0);
  let above = p.x_first + (map + y0) * p.width * p.channels + c;
  let below = p.x_first + (map + y1) * p.width * p.channels + c;
  let upper = x[above + x0 * p.channels] * (1.0 - fx) + x[above + x1 * p.channels] * fx;
  let lower = x[below + x0 * p.channels] * (1.0 - fx) + x[below + x1 * p.channels] * fx;
  out[p.out_first + i] = upper * (1.0 - fy) + lower * fy;
#end
}
