// Attention to places of one map, added to what the maps before it gave (ADD); one invocation a number of the result. Weights are
// the softmax over the places of all maps.
#include common
struct Params {
  grid_x: u32, groups: u32, zero: u32,
  len: u32, queries: u32, heads: u32, channels: u32, cells: u32, points: u32,
  rows: u32, columns: u32, map_points: u32, first_point: u32, first_cell: u32,
  values_first: u32, offsets_first: u32, offsets_row: u32, logits_first: u32, logits_row: u32, boxes_first: u32, out_first: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> offsets: array<f32>;
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read> boxes: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

// The number of a cell, 0 outside of the map. `first` is that of the map's first cell.
fn cell(first: u32, row: f32, column: f32) -> f32 {
  if (!(row >= 0.0 && row < f32(p.rows) && column >= 0.0 && column < f32(p.columns))) { return 0.0; }
  let r = min(u32(row), p.rows - 1u);
  let c = min(u32(column), p.columns - 1u);
  return values[first + (r * p.columns + c) * p.heads * p.channels];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let i = group_index(wg) * 256u + t;
  if (i >= p.len) { return; }
  let width = p.heads * p.channels;
  let row = i / width;
  let within = i - row * width;
  let head = within / p.channels;
  let logit = p.logits_first + row * p.logits_row + head * p.points;
  var most = logits[logit];
  for (var k = 1u; k < p.points; k++) { most = max(most, logits[logit + k]); }
  var sum = 0.0;
  for (var k = 0u; k < p.points; k++) { sum += exp(logits[logit + k] - most); }
  let at = p.boxes_first + 4u * row;
  let first = p.values_first + (row / p.queries * p.cells + p.first_cell) * width + within;
  var y = 0.0;
  for (var k = 0u; k < p.map_points; k++) {
    let point = p.first_point + k;
    let offset = p.offsets_first + row * p.offsets_row + 2u * (head * p.points + point);
    // Which cells a place lies between must not depend on what is fused.
    let px = rounded(boxes[at] + rounded(offsets[offset] * boxes[at + 2u])) * f32(p.columns);
    let py = rounded(boxes[at + 1u] + rounded(offsets[offset + 1u] * boxes[at + 3u])) * f32(p.rows);
    let x_place = rounded(px) - 0.5;
    let y_place = rounded(py) - 0.5;
    let left = floor(x_place);
    let top = floor(y_place);
    let right_share = x_place - left;
    let lower_share = y_place - top;
    let upper = (1.0 - right_share) * cell(first, top, left) + right_share * cell(first, top, left + 1.0);
    let lower = (1.0 - right_share) * cell(first, top + 1.0, left) + right_share * cell(first, top + 1.0, left + 1.0);
    y += exp(logits[logit + point] - most) / sum * ((1.0 - lower_share) * upper + lower_share * lower);
  }
#if ADD == 1
  y += out[p.out_first + i];
#end
  out[p.out_first + i] = y;
}
