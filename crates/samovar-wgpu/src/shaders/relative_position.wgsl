// Products of unscaled queries with the tables of decomposed relative positions: for every query of the launch one number
// per row of keys, then one per column. One invocation a number.
#include common
#include attention_params
@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> rows: array<f32>;
@group(0) @binding(2) var<storage, read> columns: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let i = group_index(wg) * 256u + t;
  let distances = p.side_y + p.side_x;
  // Here the number of tiles is that of pairs.
  if (i >= p.query_tiles * p.query_count * distances) { return; }
  let line = i / distances;
  let entry = i - line * distances;
  let pair_of_launch = line / p.query_count;
  let query = p.query_first + line - pair_of_launch * p.query_count;
  let pair = p.pair_first + pair_of_launch;
  let group = pair / p.heads;
  let row = query_row(group, query);
  if (row == ABSENT) { return; }
  let q_at = p.q_first + row * p.q_row + (pair - group * p.heads) * p.head_channels;
  var sum = 0.0;
  if (entry < p.side_y) {
    // The tables' places come in as those of keys and values do.
    let at = p.k_first + (query / p.side_x + p.side_y - 1u - entry) * p.head_channels;
    for (var c = 0u; c < p.head_channels; c++) { sum = fma(q[q_at + c], rows[at + c], sum); }
  } else {
    let at = p.v_first + (query % p.side_x + p.side_x - 1u - (entry - p.side_y)) * p.head_channels;
    for (var c = 0u; c < p.head_channels; c++) { sum = fma(q[q_at + c], columns[at + c], sum); }
  }
  out[i] = sum;
}
