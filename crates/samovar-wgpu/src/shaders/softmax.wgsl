// Softmax of rows; one workgroup a row.
#include common
struct Params {
  grid_x: u32, groups: u32, zero: u32,
  columns: u32, x_first: u32, out_first: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
var<workgroup> parts: array<f32, 64>;

fn largest(t: u32, part: f32) -> f32 {
  parts[t] = part;
  workgroupBarrier();
  for (var step = 32u; step > 0u; step /= 2u) {
    if (t < step) { parts[t] = max(parts[t], parts[t + step]); }
    workgroupBarrier();
  }
  return parts[0];
}

fn total(t: u32, part: f32) -> f32 {
  workgroupBarrier();
  parts[t] = part;
  workgroupBarrier();
  for (var step = 32u; step > 0u; step /= 2u) {
    if (t < step) { parts[t] += parts[t + step]; }
    workgroupBarrier();
  }
  return parts[0];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row = group_index(wg);
  if (row >= p.groups) { return; }
  let x_first = p.x_first + row * p.columns;
  // Rows shorter than the workgroup repeat their first number.
  var most = x[x_first];
  for (var c = t; c < p.columns; c += 64u) { most = max(most, x[x_first + c]); }
  most = largest(t, most);
  var sum = 0.0;
  for (var c = t; c < p.columns; c += 64u) { sum += exp(x[x_first + c] - most); }
  sum = total(t, sum);
  for (var c = t; c < p.columns; c += 64u) {
    out[p.out_first + row * p.columns + c] = exp(x[x_first + c] - most) / sum;
  }
}
