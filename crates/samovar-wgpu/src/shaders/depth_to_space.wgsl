// Channels to pixels: [batch, height, width, factor, factor, channels] to [batch, factor height, factor width, channels], then
// the ending; one invocation a number of the result.
#include common
#include activation
struct Params {
  grid_x: u32, groups: u32, zero: u32,
  m: u32, n: u32, width: u32, factor: u32, x_first: u32,
  bias_first: u32, residual_first: u32, residual_len: u32, out_first: u32, out_batch: u32,
}
var<immediate> p: Params;
#include ending
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> residual: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let i = group_index(wg) * 256u + t;
  if (i >= p.m * p.n) { return; }
  let pixel = i / p.n;
  let channel = i - pixel * p.n;
  let out_width = p.width * p.factor;
  let line = pixel / out_width;
  let column = pixel - line * out_width;
  let from_line = line / p.factor;
  let from_column = column / p.factor;
  let tap = (line - from_line * p.factor) * p.factor + column - from_column * p.factor;
  let at = ((from_line * p.width + from_column) * p.factor * p.factor + tap) * p.n + channel;
  store(0u, pixel, channel, x[p.x_first + at]);
}
