// Parameters of attention, and which rows of queries and keys share a softmax. LAYOUT: 0 sequences, 1 windows of a grid.
struct Params {
  grid_x: u32, groups: u32, zero: u32,
  queries: u32, keys: u32, heads: u32, head_channels: u32, value_channels: u32,
  q_first: u32, q_row: u32, k_first: u32, k_row: u32, v_first: u32, v_row: u32,
  bias_first: u32, padding_k: u32, padding_v: u32, out_first: u32,
  // The pair of softmax group and head, and the query, with which the launch begins; its queries, and their tiles.
  pair_first: u32, query_first: u32, query_count: u32, query_tiles: u32,
  // Of sequences: entries of the keys. Of windows: their grid, their side, keys per query along a side.
  key_batch: u32, grid_height: u32, grid_width: u32, window: u32, query_stride: u32,
  // Rows and columns that relative positions know.
  side_y: u32, side_x: u32,
  scale: f32,
}
var<immediate> p: Params;

// A token that is not there: of queries beyond the last, and of windows over the edge.
const ABSENT: u32 = 0xffffffffu;
// A key beyond the last.
const BEYOND: u32 = 0xfffffffeu;

#if LAYOUT == 0
fn query_row(group: u32, query: u32) -> u32 {
  if (query >= p.queries) { return ABSENT; }
  return group * p.queries + query;
}
fn key_row(group: u32, key: u32) -> u32 {
  if (key >= p.keys) { return BEYOND; }
  return group % p.key_batch * p.keys + key;
}
#end
#if LAYOUT == 1
// The cell of a grid `stride` times smaller, for a token of a window.
fn cell(group: u32, token: u32, stride: u32) -> u32 {
  let windows_x = (p.grid_width + p.window - 1u) / p.window;
  let windows_y = (p.grid_height + p.window - 1u) / p.window;
  let line = group / windows_x;
  let image = line / windows_y;
  let side = p.window / stride;
  let y = (line - image * windows_y) * side + token / side;
  let x = (group - line * windows_x) * side + token % side;
  let height = p.grid_height / stride;
  let width = p.grid_width / stride;
  if (y >= height || x >= width) { return ABSENT; }
  return (image * height + y) * width + x;
}
fn query_row(group: u32, query: u32) -> u32 {
  if (query >= p.queries) { return ABSENT; }
  return cell(group, query, p.query_stride);
}
fn key_row(group: u32, key: u32) -> u32 {
  if (key >= p.keys) { return BEYOND; }
  return cell(group, key, 1u);
}
#end
