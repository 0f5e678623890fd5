//! The stated errors, against double precision, on every SIMD level of the machine.

use super::*;
use crate::SimdLevel;
use crate::dispatch::with_simd;

/// Largest error of `f` against `exact` over `count` points of a range; relative where `exact` exceeds `floor`.
fn largest_error(
    f: impl Fn(&[f32], &mut [f32]),
    exact: impl Fn(f64) -> f64,
    range: (f32, f32),
    floor: f64,
) -> f64 {
    let count = 1 << 16;
    let x: Vec<f32> =
        (0..count).map(|i| range.0 + (range.1 - range.0) * i as f32 / (count - 1) as f32).collect();
    let mut y = vec![0.0; count];
    f(&x, &mut y);
    let error = |(&x, &y): (&f32, &f32)| {
        let expected = exact(f64::from(x));
        (f64::from(y) - expected).abs() / expected.abs().max(floor)
    };
    x.iter().zip(&y).map(error).fold(0.0, f64::max)
}

macro_rules! map {
    ($level:expr, $s:ident, $v:ident => $value:expr) => {
        |x: &[f32], y: &mut [f32]| {
            with_simd!($level, $s => $s.vectorize(#[inline(always)] || map_with($s, x, y, #[inline(always)] |$v| $value)))
        }
    };
}

#[inline(always)]
fn map_with<S: Simd>(s: S, x: &[f32], y: &mut [f32], f: impl Fn(S::V) -> S::V) {
    for (x, y) in x.chunks(S::LANES).zip(y.chunks_mut(S::LANES)) {
        // SAFETY: both chunks have the length given.
        unsafe { s.store_part(y.as_mut_ptr(), f(s.load_part(x.as_ptr(), x.len())), x.len()) }
    }
}

/// The error function from its Taylor series; enough terms for |x| < 4.5 in double precision.
fn erf_exact(x: f64) -> f64 {
    if x.abs() > 4.5 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn errors_are_as_stated() {
    for level in SimdLevel::ALL.into_iter().filter(|level| level.is_available()) {
        let check = |name: &str, error: f64, bound: f64| {
            assert!(error < bound, "{level} {name}: {error:e}, stated {bound:e}");
        };
        let error = largest_error(map!(level, s, v => exp(s, v)), f64::exp, (-87.0, 88.0), 0.0);
        check("exp", error, 2e-7);
        let error = largest_error(map!(level, s, v => exp(s, v)), f64::exp, (-1.0, 1.0), 0.0);
        check("exp near 0", error, 2e-7);
        let error = largest_error(map!(level, s, v => exp2_of_negative(s, v)), f64::exp2, (-126.0, 0.0), 0.0);
        check("exp2_of_negative", error, 3e-7);
        let exact = |x: f64| 0.5 * x * (1.0 + erf_exact(x * std::f64::consts::FRAC_1_SQRT_2));
        check("gelu", largest_error(map!(level, s, v => gelu(s, v)), exact, (-10.0, 10.0), 1.0), 4e-7);
        let exact = |x: f64| 1.0 / (1.0 + (-x).exp());
        check("sigmoid", largest_error(map!(level, s, v => sigmoid(s, v)), exact, (-50.0, 50.0), 1.0), 2e-7);
        let exact = |x: f64| x / (1.0 + (-x).exp());
        check("silu", largest_error(map!(level, s, v => silu(s, v)), exact, (-80.0, 80.0), 1e-30), 1e-6);
        for reach in [3.0, 30.0, 300.0] {
            let error = largest_error(map!(level, s, v => sin_cos(s, v).0), f64::sin, (-reach, reach), 1.0);
            check("sin", error, 1e-6);
            let error = largest_error(map!(level, s, v => sin_cos(s, v).1), f64::cos, (-reach, reach), 1.0);
            check("cos", error, 1e-6);
        }
    }
}
