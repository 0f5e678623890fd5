// How each row becomes 8-bit numbers, as RowScale of samovar-tensor has it: scale, its inverse, what stands for zero. One
// workgroup a row.
#include common
#include product_params
#include rows
@group(0) @binding(1) var<storage, read_write> out: array<vec4<u32>>;
var<workgroup> lows: array<f32, 64>;
var<workgroup> highs: array<f32, 64>;
var<workgroup> wrongs: array<u32, 64>;

// What of x is left by a quotient. Cards divide in their own ways; corrected by this, quotients are those of a division that
// is rounded once. Products of halves of the digits are exact, fused with sums or not.
fn remainder(x: f32, divisor: f32, quotient: f32) -> f32 {
  let d = bitcast<f32>(bitcast<u32>(divisor) & 0xfffff000u);
  let q = bitcast<f32>(bitcast<u32>(quotient) & 0xfffff000u);
  let d_rest = divisor - d;
  let q_rest = quotient - q;
  return x - d * q - d * q_rest - d_rest * q - d_rest * q_rest;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let group = group_index(wg);
  if (group >= p.groups) { return; }
  let row = p.row_first + group;
  var low = 0.0;
  var high = 0.0;
  var wrong = 0u;
  for (var k = t * 4u; k < p.k; k += 256u) {
    let v = left4(0u, row, k);
    // What is not finite is told by its bits: compilers may take all numbers for finite.
    let bits = bitcast<vec4<u32>>(v) & vec4<u32>(0x7f800000u);
    if (any(bits == vec4<u32>(0x7f800000u))) { wrong = 1u; }
    low = min(low, min(min(v.x, v.y), min(v.z, v.w)));
    high = max(high, max(max(v.x, v.y), max(v.z, v.w)));
  }
  lows[t] = low;
  highs[t] = high;
  wrongs[t] = wrong;
  workgroupBarrier();
  if (t > 0u) { return; }
  for (var i = 1u; i < 64u; i++) {
    low = min(low, lows[i]);
    high = max(high, highs[i]);
    wrong |= wrongs[i];
  }
  let range = high - low;
  var scale = range / 255.0;
  scale += remainder(range, 255.0, scale) / 255.0;
  if (wrong > 0u || (bitcast<u32>(scale) & 0x7f800000u) == 0x7f800000u) {
    out[group] = vec4<u32>(0x7fc00000u, 0u, 0u, 0u);
    return;
  }
  if (scale < 1.17549435e-38) {
    out[group] = vec4<u32>(0u);
    return;
  }
  var inverse = 1.0 / scale;
  inverse += inverse * remainder(1.0, scale, inverse);
  let zero = i32(round(-low * inverse));
  out[group] = vec4<u32>(bitcast<u32>(scale), bitcast<u32>(inverse), bitcast<u32>(zero), 0u);
}
