// [batch, rows, columns] to [batch, columns, rows], in tiles of 32 x 32.
#include common
struct Params {
  grid_x: u32, groups: u32, zero: u32,
  rows: u32, columns: u32, row_tiles: u32, column_tiles: u32, x_first: u32, out_first: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
var<workgroup> tile: array<u32, 1056>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let group = group_index(wg);
  if (group >= p.groups) { return; }
  let band = group / p.column_tiles;
  let column_first = (group - band * p.column_tiles) * 32u;
  let batch = band / p.row_tiles;
  let row_first = (band - batch * p.row_tiles) * 32u;
  let at = batch * p.rows * p.columns;
  for (var i = t; i < 1024u; i += 256u) {
    let row = row_first + i / 32u;
    let column = column_first + i % 32u;
    if (row < p.rows && column < p.columns) {
      tile[i / 32u * 33u + i % 32u] = x[p.x_first + at + row * p.columns + column];
    }
  }
  workgroupBarrier();
  for (var i = t; i < 1024u; i += 256u) {
    let column = column_first + i / 32u;
    let row = row_first + i % 32u;
    if (row < p.rows && column < p.columns) {
      out[p.out_first + at + column * p.rows + row] = tile[i % 32u * 33u + i / 32u];
    }
  }
}
