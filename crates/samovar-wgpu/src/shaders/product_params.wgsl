// Parameters of products, and of what prepares rows for 8-bit ones.
struct Params {
  grid_x: u32, groups: u32, zero: u32,
  m: u32, n: u32, k: u32,
  x_first: u32, x_batch: u32,
  w_first: u32, w_batch: u32, w_row: u32,
  bias_first: u32, residual_first: u32, residual_len: u32,
  out_first: u32, out_batch: u32,
  row_tiles: u32, column_tiles: u32, row_first: u32,
  height: u32, width: u32, inputs: u32, out_height: u32, out_width: u32,
  kernel: u32, stride: u32, padding: u32, dilation: u32,
}
var<immediate> p: Params;
