// The same product of 8-bit integers: rows are rounded as their statistics say (row_scale.wgsl), weights come with one
// scale per output. Sums of integers are exact. Rows of a launch begin at p.row_first, as the statistics do.
#include common
#include activation
#include product_params
#include rows
#include ending
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read> scales: array<f32>;
@group(0) @binding(5) var<storage, read> statistics: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

// Groups of four terms at a time.
const DEPTH: u32 = 16u;
const X_ROW: u32 = TILE_M + 4u;
const W_ROW: u32 = TILE_N + 4u;
var<workgroup> xs: array<u32, DEPTH * X_ROW>;
var<workgroup> ws: array<u32, DEPTH * W_ROW>;

// Four numbers as 0..255, less 128 so that they are signed.
fn quantised(row: u32, v: vec4<f32>) -> u32 {
  let statistic = statistics[row - p.row_first];
  let q = vec4<i32>(round(v * bitcast<f32>(statistic.y))) + bitcast<i32>(statistic.z);
  let u = vec4<u32>(clamp(q, vec4<i32>(0), vec4<i32>(255)) - 128) & vec4<u32>(255u);
  return u.x | (u.y << 8u) | (u.z << 16u) | (u.w << 24u);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let group = group_index(wg);
  if (group >= p.groups) { return; }
  let tile = group / p.column_tiles;
  let column_first = (group - tile * p.column_tiles) * TILE_N;
  let row_first = p.row_first + tile * TILE_M;
  let ty = t / 16u;
  let tx = t % 16u;
#repeat j COLUMNS
  var sum_{j} = 0i;
#end
#repeat i ROWS
#repeat j COLUMNS
  var acc_{i}_{j} = 0i;
#end
#end
  for (var k0 = 0u; k0 < p.k; k0 += DEPTH * 4u) {
    for (var i = t; i < TILE_M * DEPTH; i += 256u) {
      let row = i / DEPTH;
      let k = i % DEPTH;
      var v = 0u;
      if (row_first + row < p.m) {
        v = quantised(row_first + row, left4(0u, row_first + row, k0 + k * 4u));
      }
      xs[k * X_ROW + row] = v;
    }
    for (var i = t; i < TILE_N * DEPTH; i += 256u) {
      let row = i / DEPTH;
      let k = i % DEPTH;
      var v = 0u;
      if (column_first + row < p.n && k0 + k * 4u < p.k) {
        v = w[((column_first + row) * p.w_row + k0) / 4u + k];
      }
      ws[k * W_ROW + row] = v;
    }
    workgroupBarrier();
    for (var k = 0u; k < DEPTH; k++) {
      let x_at = k * X_ROW + ty * min(ROWS, 4u);
      let w_at = k * W_ROW + tx * min(COLUMNS, 4u);
#repeat i ROWS
      let a_{i} = xs[x_at + {i}u / 4u * 64u + {i}u % 4u];
#end
#repeat j COLUMNS
      let b_{j} = ws[w_at + {j}u / 4u * 64u + {j}u % 4u];
      sum_{j} += dot4I8Packed(0x01010101u, b_{j});
#end
#repeat i ROWS
#repeat j COLUMNS
      acc_{i}_{j} += dot4I8Packed(a_{i}, b_{j});
#end
#end
    }
    workgroupBarrier();
  }
  let column = column_first + tx * min(COLUMNS, 4u);
#repeat i ROWS
  finish_row(row_first + ty * min(ROWS, 4u) + {i}u / 4u * 64u + {i}u % 4u, column
#repeat j COLUMNS
    , acc_{i}_{j}, sum_{j}
#end
  );
#end
}

fn finish_row(row: u32, column: u32
#repeat j COLUMNS
  , acc_{j}: i32, sum_{j}: i32
#end
) {
  if (row >= p.m) { return; }
  let statistic = statistics[row - p.row_first];
#repeat j COLUMNS
  finish(row, column + {j}u / 4u * 64u + {j}u % 4u, statistic, acc_{j}, sum_{j});
#end
}

fn finish(row: u32, column: u32, statistic: vec4<u32>, acc: i32, sum: i32) {
  if (column >= p.n) { return; }
  let exact = acc + (128 - bitcast<i32>(statistic.z)) * sum;
  store(0u, row, column, f32(exact) * bitcast<f32>(statistic.x) * scales[column]);
}
