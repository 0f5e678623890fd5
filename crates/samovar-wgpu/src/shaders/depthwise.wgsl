// Convolution with one filter per channel; one invocation a number. Weights are [kernel, kernel, channels].
#include common
#include activation
#include product_params
#include ending
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let i = group_index(wg) * 256u + t;
  if (i >= p.m * p.n) { return; }
  let row = i / p.n;
  let channel = i - row * p.n;
  let line = row / p.out_width;
  let left = (row - line * p.out_width) * p.stride - p.padding;
  let image = line / p.out_height;
  let top = (line - image * p.out_height) * p.stride - p.padding;
  var sum = 0.0;
  for (var ky = 0u; ky < p.kernel; ky++) {
    let y = top + ky * p.dilation;
    if (y >= p.height) { continue; }
    let line_at = p.x_first + (image * p.height + y) * p.width * p.n + channel;
    for (var kx = 0u; kx < p.kernel; kx++) {
      let column = left + kx * p.dilation;
      if (column >= p.width) { continue; }
      sum = fma(x[line_at + column * p.n], w[(ky * p.kernel + kx) * p.n + channel], sum);
    }
  }
  store(0u, row, channel, sum);
}
