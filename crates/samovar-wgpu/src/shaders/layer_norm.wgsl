// Normalises rows to mean 0 and variance 1, then scale, shift and activation; one workgroup a row. The mean is corrected by
// what the deviations from its first value sum up to: rows far from 0 would lose digits otherwise.
#include common
#include activation
struct Params {
  grid_x: u32, groups: u32, zero: u32,
  channels: u32, x_first: u32, gamma_first: u32, beta_first: u32, out_first: u32,
  epsilon: f32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> gamma: array<f32>;
@group(0) @binding(2) var<storage, read> beta: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
var<workgroup> sums: array<vec2<f32>, 64>;

fn total(t: u32, part: vec2<f32>) -> vec2<f32> {
  workgroupBarrier();
  sums[t] = part;
  workgroupBarrier();
  for (var step = 32u; step > 0u; step /= 2u) {
    if (t < step) { sums[t] += sums[t + step]; }
    workgroupBarrier();
  }
  return sums[0];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row = group_index(wg);
  if (row >= p.groups) { return; }
  let x_first = p.x_first + row * p.channels;
  let count = f32(p.channels);
  var sum = 0.0;
  for (var c = t; c < p.channels; c += 64u) { sum += x[x_first + c]; }
  var mean = total(t, vec2<f32>(sum, 0.0)).x / count;
  var moments = vec2<f32>();
  for (var c = t; c < p.channels; c += 64u) {
    let d = x[x_first + c] - mean;
    moments += vec2<f32>(d, d * d);
  }
  moments = total(t, moments) / count;
  mean += moments.x;
  let variance = max(moments.y - moments.x * moments.x, 0.0);
  let scale = 1.0 / sqrt(variance + p.epsilon);
  for (var c = t; c < p.channels; c += 64u) {
    let normalised = (x[x_first + c] - mean) * scale;
    let y = normalised * gamma[p.gamma_first + c] + beta[p.beta_first + c];
    out[p.out_first + row * p.channels + c] = activate(y);
  }
}
