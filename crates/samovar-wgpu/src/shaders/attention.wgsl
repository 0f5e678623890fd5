// softmax(scale q kT + bias) v, TILE queries of one head per workgroup, TILE keys at a time. Scores exist for one tile: the
// largest so far and the sum of weights are corrected as tiles go by, and so are the weighted sums of values, which stay in
// registers: CHUNKS times COLUMNS of 16 per query. Invocation (ty, tx) of 16 x 16 has SIDE x SIDE scores, and SIDE queries of
// the result. BIAS: 0 none, 1 a table, 2 positions of keys, 3 products with relative positions (relative_position.wgsl).
#include common
#include attention_params
@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> padding: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

// Invocations per query in the softmax.
const SHARE: u32 = 256u / TILE;
// Channels staged at a time, and their rows, padded so that neighbours read different banks.
const DEPTH: u32 = 32u;
const DEPTH_ROW: u32 = 33u;
const SCORE_ROW: u32 = TILE + 1u;
// Values staged at a time.
const VALUE_ROWS: u32 = min(TILE, 32u);
const VALUE_COLUMNS: u32 = COLUMNS * 16u;
const LEAST: f32 = -3.0e38;

// Queries and keys; later the scores.
var<workgroup> stage: array<f32, max(2u * TILE * DEPTH_ROW, TILE * SCORE_ROW)>;
var<workgroup> values: array<f32, VALUE_ROWS * VALUE_COLUMNS>;
var<workgroup> query_rows: array<u32, TILE>;
var<workgroup> key_rows: array<u32, TILE>;
var<workgroup> largest: array<f32, TILE>;
var<workgroup> sums: array<f32, TILE>;
var<workgroup> corrections: array<f32, TILE>;
var<workgroup> parts: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let index = group_index(wg);
  if (index >= p.groups) { return; }
  let pair_of_launch = index / p.query_tiles;
  let tile_first = (index - pair_of_launch * p.query_tiles) * TILE;
  let pair = p.pair_first + pair_of_launch;
  let group = pair / p.heads;
  let head = pair - group * p.heads;
  let ty = t / 16u;
  let tx = t % 16u;
  let q_head = p.q_first + head * p.head_channels;
  let k_head = head * p.head_channels;
  let v_head = head * p.value_channels;
  if (t < TILE) {
    query_rows[t] = ABSENT;
    if (tile_first + t < p.query_count) { query_rows[t] = query_row(group, p.query_first + tile_first + t); }
    largest[t] = LEAST;
    sums[t] = 0.0;
  }
#repeat n CHUNKS
#repeat i SIDE
#repeat c COLUMNS
  var o_{n}_{i}_{c} = 0.0;
#end
#end
#end
  for (var key_first = 0u; key_first < p.keys; key_first += TILE) {
    if (t < TILE) { key_rows[t] = key_row(group, key_first + t); }
#repeat i SIDE
#repeat j SIDE
    var s_{i}_{j} = 0.0;
#end
#end
    for (var c0 = 0u; c0 < p.head_channels; c0 += DEPTH) {
      workgroupBarrier();
      for (var i = t; i < TILE * DEPTH; i += 256u) {
        let token = i / DEPTH;
        let c = c0 + i % DEPTH;
        var of_query = 0.0;
        var of_key = 0.0;
        if (c < p.head_channels) {
          let q_at = query_rows[token];
          if (q_at != ABSENT) { of_query = q[q_head + q_at * p.q_row + c]; }
          let k_at = key_rows[token];
          if (k_at < BEYOND) {
            of_key = k[p.k_first + k_at * p.k_row + k_head + c];
          } else if (k_at == ABSENT) {
            of_key = padding[p.padding_k + k_head + c];
          }
#if BIAS == 2
          if (k_at != BEYOND) {
            of_key += bias[p.bias_first + (key_first + token) * p.heads * p.head_channels + k_head + c];
          }
#end
        }
        stage[token * DEPTH_ROW + i % DEPTH] = of_query;
        stage[TILE * DEPTH_ROW + token * DEPTH_ROW + i % DEPTH] = of_key;
      }
      workgroupBarrier();
      for (var c = 0u; c < DEPTH; c++) {
#repeat i SIDE
        let q_{i} = stage[(ty * SIDE + {i}u) * DEPTH_ROW + c];
#end
#repeat j SIDE
        let k_{j} = stage[(TILE + tx + {j}u * 16u) * DEPTH_ROW + c];
#end
#repeat i SIDE
#repeat j SIDE
        s_{i}_{j} = fma(q_{i}, k_{j}, s_{i}_{j});
#end
#end
      }
    }
    workgroupBarrier();
#repeat i SIDE
#repeat j SIDE
    stage[(ty * SIDE + {i}u) * SCORE_ROW + tx + {j}u * 16u] =
      score(pair_of_launch, head, tile_first + ty * SIDE + {i}u, key_first + tx + {j}u * 16u, s_{i}_{j});
#end
#end
    workgroupBarrier();
    let row = t / SHARE;
    let share = t % SHARE;
    var most = LEAST;
    for (var j = share; j < TILE; j += SHARE) { most = max(most, stage[row * SCORE_ROW + j]); }
    parts[t] = most;
    workgroupBarrier();
    most = largest[row];
    for (var j = 0u; j < SHARE; j++) { most = max(most, parts[row * SHARE + j]); }
    var sum = 0.0;
    for (var j = share; j < TILE; j += SHARE) {
      var weight = 0.0;
      if (key_first + j < p.keys) { weight = exp(stage[row * SCORE_ROW + j] - most); }
      stage[row * SCORE_ROW + j] = weight;
      sum += weight;
    }
    workgroupBarrier();
    parts[t] = sum;
    workgroupBarrier();
    if (share == 0u) {
      let correction = exp(largest[row] - most);
      sum = sums[row] * correction;
      for (var j = 0u; j < SHARE; j++) { sum += parts[t + j]; }
      sums[row] = sum;
      corrections[row] = correction;
      largest[row] = most;
    }
    workgroupBarrier();
#repeat i SIDE
    let correction_{i} = corrections[ty * SIDE + {i}u];
#repeat n CHUNKS
#repeat c COLUMNS
    o_{n}_{i}_{c} *= correction_{i};
#end
#end
#end
#repeat n CHUNKS
    for (var j0 = 0u; j0 < TILE; j0 += VALUE_ROWS) {
      workgroupBarrier();
      for (var i = t; i < VALUE_ROWS * VALUE_COLUMNS; i += 256u) {
        let c = {n}u * VALUE_COLUMNS + i % VALUE_COLUMNS;
        let v_at = key_rows[j0 + i / VALUE_COLUMNS];
        var value = 0.0;
        if (c < p.value_channels) {
          if (v_at < BEYOND) {
            value = v[p.v_first + v_at * p.v_row + v_head + c];
          } else if (v_at == ABSENT) {
            value = padding[p.padding_v + v_head + c];
          }
        }
        values[i] = value;
      }
      workgroupBarrier();
      for (var j = 0u; j < VALUE_ROWS; j++) {
#repeat i SIDE
        let weight_{i} = stage[(ty * SIDE + {i}u) * SCORE_ROW + j0 + j];
#end
#repeat c COLUMNS
        let value_{c} = values[j * VALUE_COLUMNS + tx + {c}u * 16u];
#end
#repeat i SIDE
#repeat c COLUMNS
        o_{n}_{i}_{c} = fma(weight_{i}, value_{c}, o_{n}_{i}_{c});
#end
#end
      }
    }
#end
    workgroupBarrier();
  }
#repeat i SIDE
  {
    let row = query_rows[ty * SIDE + {i}u];
    if (row != ABSENT) {
      let whole = 1.0 / sums[ty * SIDE + {i}u];
      let at = p.out_first + (row * p.heads + head) * p.value_channels;
#repeat n CHUNKS
#repeat c COLUMNS
      if ({n}u * VALUE_COLUMNS + tx + {c}u * 16u < p.value_channels) {
        out[at + {n}u * VALUE_COLUMNS + tx + {c}u * 16u] = o_{n}_{i}_{c} * whole;
      }
#end
#end
    }
  }
#end
}

// The score of a query of the launch and a key. What lies beyond the last of either counts nowhere.
fn score(pair_of_launch: u32, head: u32, query: u32, key: u32, product: f32) -> f32 {
  if (key >= p.keys) { return LEAST; }
#if BIAS == 1
  if (query >= p.query_count) { return LEAST; }
  return p.scale * product + bias[p.bias_first + (head * p.queries + p.query_first + query) * p.keys + key];
#end
#if BIAS == 3
  if (query >= p.query_count) { return LEAST; }
  let at = (pair_of_launch * p.query_count + query) * (p.side_y + p.side_x);
  return p.scale * product + bias[at + key / p.side_x] + bias[at + p.side_y + key % p.side_x];
#end
#if BIAS != 1 && BIAS != 3
  return p.scale * product;
#end
}
