// What products read on their left: four numbers of a row, from column k on, 0 beyond the ends. LEFT: 0 a matrix; 1 the
// same where four columns lie aligned; 2 and 3 what lies under the kernel of a convolution, 3 where four channels do.
#if LEFT == 0
@group(0) @binding(0) var<storage, read> x: array<f32>;
fn left4(batch: u32, row: u32, k: u32) -> vec4<f32> {
  var v = vec4<f32>();
  if (row < p.m) {
    let at = p.x_first + batch * p.x_batch + row * p.k + k;
#repeat i 4
    if (k + {i}u < p.k) { v[{i}] = x[at + {i}u]; }
#end
  }
  return v;
}
#end
#if LEFT == 1
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
fn left4(batch: u32, row: u32, k: u32) -> vec4<f32> {
  if (row < p.m && k < p.k) {
    return x[(p.x_first + batch * p.x_batch + row * p.k + k) / 4u];
  }
  return vec4<f32>();
}
#end
#if LEFT == 2
@group(0) @binding(0) var<storage, read> x: array<f32>;
fn left1(row: u32, k: u32) -> f32 {
  if (row >= p.m || k >= p.k) { return 0.0; }
  let tap = k / p.inputs;
  let at = source(row, tap);
  if (at == NOWHERE) { return 0.0; }
  return x[p.x_first + at * p.inputs + k - tap * p.inputs];
}
fn left4(batch: u32, row: u32, k: u32) -> vec4<f32> {
  return vec4<f32>(left1(row, k), left1(row, k + 1u), left1(row, k + 2u), left1(row, k + 3u));
}
#end
#if LEFT == 3
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
fn left4(batch: u32, row: u32, k: u32) -> vec4<f32> {
  if (row >= p.m || k >= p.k) { return vec4<f32>(); }
  let tap = k / p.inputs;
  let at = source(row, tap);
  if (at == NOWHERE) { return vec4<f32>(); }
  return x[(p.x_first + at * p.inputs + k - tap * p.inputs) / 4u];
}
#end
#if LEFT > 1
const NOWHERE: u32 = 0xffffffffu;
// The cell of the map under a tap of the kernel, for a cell of the result.
fn source(row: u32, tap: u32) -> u32 {
  let line = row / p.out_width;
  let ox = row - line * p.out_width;
  let image = line / p.out_height;
  let oy = line - image * p.out_height;
  let ky = tap / p.kernel;
  let kx = tap - ky * p.kernel;
  // Below 0 these are large.
  let y = oy * p.stride + ky * p.dilation - p.padding;
  let x_ = ox * p.stride + kx * p.dilation - p.padding;
  if (y >= p.height || x_ >= p.width) { return NOWHERE; }
  return (image * p.height + y) * p.width + x_;
}
#end
