// out = ending(x wT): 256 invocations make a tile of TILE_M x TILE_N numbers, each ROWS x COLUMNS of them, 16 terms at a
// time from workgroup memory. RIGHT: 0 f32; 1 f32 where four columns lie aligned; 2 f16 and 3 bf16, in pairs, the four of a
// group aligned and rows filled up with zeros.
#include common
#include activation
#include product_params
#include rows
#include ending
#if RIGHT == 0
@group(0) @binding(1) var<storage, read> w: array<f32>;
fn right4(batch: u32, row: u32, k: u32) -> vec4<f32> {
  var v = vec4<f32>();
  if (row < p.n) {
    let at = p.w_first + batch * p.w_batch + row * p.w_row + k;
#repeat i 4
    if (k + {i}u < p.k) { v[{i}] = w[at + {i}u]; }
#end
  }
  return v;
}
#end
#if RIGHT == 1
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
fn right4(batch: u32, row: u32, k: u32) -> vec4<f32> {
  if (row < p.n && k < p.k) {
    return w[(p.w_first + batch * p.w_batch + row * p.w_row + k) / 4u];
  }
  return vec4<f32>();
}
#end
#if RIGHT > 1
@group(0) @binding(1) var<storage, read> w: array<vec2<u32>>;
fn right4(batch: u32, row: u32, k: u32) -> vec4<f32> {
  if (row < p.n && k < p.k) {
    let pairs = w[(row * p.w_row + k) / 4u];
#if RIGHT == 2
    return vec4<f32>(unpack2x16float(pairs.x), unpack2x16float(pairs.y));
#end
#if RIGHT == 3
    return bitcast<vec4<f32>>(vec4<u32>(pairs.x << 16u, pairs.x & 0xffff0000u, pairs.y << 16u, pairs.y & 0xffff0000u));
#end
  }
  return vec4<f32>();
}
#end
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

const DEPTH: u32 = 16u;
// Rows of a term, padded so that neighbours write to different banks.
const X_ROW: u32 = TILE_M + 4u;
const W_ROW: u32 = TILE_N + 4u;
var<workgroup> xs: array<f32, DEPTH * X_ROW>;
var<workgroup> ws: array<f32, DEPTH * W_ROW>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let group = group_index(wg);
  if (group >= p.groups) { return; }
  let tile = group / p.column_tiles;
  let column_first = (group - tile * p.column_tiles) * TILE_N;
  let batch = tile / p.row_tiles;
  let row_first = (tile - batch * p.row_tiles) * TILE_M;
  let ty = t / 16u;
  let tx = t % 16u;
#repeat i ROWS
#repeat j COLUMNS
  var acc_{i}_{j} = 0.0;
#end
#end
  for (var k0 = 0u; k0 < p.k; k0 += DEPTH) {
    for (var i = t; i < TILE_M * 4u; i += 256u) {
      let row = i / 4u;
      let k = i % 4u * 4u;
      let v = left4(batch, row_first + row, k0 + k);
      xs[k * X_ROW + row] = v.x;
      xs[(k + 1u) * X_ROW + row] = v.y;
      xs[(k + 2u) * X_ROW + row] = v.z;
      xs[(k + 3u) * X_ROW + row] = v.w;
    }
    for (var i = t; i < TILE_N * 4u; i += 256u) {
      let row = i / 4u;
      let k = i % 4u * 4u;
      let v = right4(batch, column_first + row, k0 + k);
      ws[k * W_ROW + row] = v.x;
      ws[(k + 1u) * W_ROW + row] = v.y;
      ws[(k + 2u) * W_ROW + row] = v.z;
      ws[(k + 3u) * W_ROW + row] = v.w;
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
#end
#repeat i ROWS
#repeat j COLUMNS
      acc_{i}_{j} = fma(a_{i}, b_{j}, acc_{i}_{j});
#end
#end
    }
    workgroupBarrier();
  }
  let row = row_first + ty * min(ROWS, 4u);
  let column = column_first + tx * min(COLUMNS, 4u);
#repeat i ROWS
#repeat j COLUMNS
  store(batch, row + {i}u / 4u * 64u + {i}u % 4u, column + {j}u / 4u * 64u + {j}u % 4u, acc_{i}_{j});
#end
#end
}
