// ACT: 0 identity, 1 ReLU, 2 ReLU6, 3 GELU, 4 sigmoid, 5 SiLU.
fn activate(x: f32) -> f32 {
#if ACT == 0
  return x;
#end
#if ACT == 1
  return max(x, 0.0);
#end
#if ACT == 2
  return min(max(x, 0.0), 6.0);
#end
#if ACT == 3
  // max(x, 0) - t * Phi(-t) with t = |x|: what is taken off is a smooth bump that has faded to 1e-7 at 5.5. Chebyshev
  // interpolation on 0..5.5, as a polynomial of t mapped to -1..1; absolute error below 4e-7.
  let t = min(abs(x), 5.5);
  let u = fma(t, 0.36363637, -1.0);
  var bump = -1.6437132e-2;
  bump = fma(bump, u, -2.6789535e-4);
  bump = fma(bump, u, 1.0187688e-1);
  bump = fma(bump, u, -3.8418185e-2);
  bump = fma(bump, u, -2.6168782e-1);
  bump = fma(bump, u, 2.3384702e-1);
  bump = fma(bump, u, 2.7624175e-1);
  bump = fma(bump, u, -5.463877e-1);
  bump = fma(bump, u, 1.4950491e-1);
  bump = fma(bump, u, 4.601557e-1);
  bump = fma(bump, u, -6.278478e-1);
  bump = fma(bump, u, 2.6032105e-1);
  bump = fma(bump, u, 1.7888871e-1);
  bump = fma(bump, u, -3.0867177e-1);
  bump = fma(bump, u, 1.9126613e-1);
  bump = fma(bump, u, -6.0578227e-2);
  bump = fma(bump, u, 8.194349e-3);
  return max(x, 0.0) - bump;
#end
#if ACT == 4
  return 1.0 / (1.0 + exp(-x));
#end
#if ACT == 5
  return x / (1.0 + exp(-x));
#end
}
