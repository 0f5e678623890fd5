// What happens to a number of a product before it is stored. BIAS: 0 none, 1 added; RESIDUAL: 0 none, 1 added before the
// activation, 2 after it.
fn store(batch: u32, row: u32, column: u32, value: f32) {
  if (row >= p.m || column >= p.n) { return; }
  let at = row * p.n + column;
  var y = value;
#if BIAS == 1
  y += bias[p.bias_first + column];
#end
#if RESIDUAL == 1
  y += residual[p.residual_first + at % p.residual_len];
#end
  y = activate(y);
#if RESIDUAL == 2
  y += residual[p.residual_first + at % p.residual_len];
#end
  out[p.out_first + batch * p.out_batch + at] = y;
}
