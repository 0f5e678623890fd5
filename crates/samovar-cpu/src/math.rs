//! Elementary functions of vectors. Errors are stated for the whole range of f32 and held by tests.

use samovar_tensor::Activation;

use crate::simd::Simd;

/// eˣ, relative error below 2e-7; below −87 it is e⁻⁸⁷ (1e-38), above 88 it is e⁸⁸.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    // x = n ln 2 + r, |r| <= ln 2 / 2; ln 2 in two parts so that n ln 2 is exact to double length.
    let x = s.min(s.splat(88.0), s.max(s.splat(-87.0), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    // Minimax polynomial of (eʳ − 1 − r) / r² (Cephes, expf).
    let p = s.splat(1.987_569_1e-4);
    let p = s.fma(p, r, s.splat(1.398_199_9e-3));
    let p = s.fma(p, r, s.splat(8.333_452e-3));
    let p = s.fma(p, r, s.splat(4.166_579_6e-2));
    let p = s.fma(p, r, s.splat(1.666_666_5e-1));
    let p = s.fma(p, r, s.splat(0.5));
    let p = s.fma(s.mul(p, r), r, s.add(r, s.splat(1.0)));
    s.scale(p, n)
}

/// 2ˣ for x <= 0, relative error below 3e-7; below −126 it is 2⁻¹²⁶ (1e-38).
#[inline(always)]
pub(crate) fn exp2_of_negative<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.max(s.splat(-126.0), x);
    let n = s.round(x);
    let r = s.sub(x, n);
    // Chebyshev interpolation of 2ʳ on −½..½.
    let p = s.splat(1.339_086_3e-3);
    let p = s.fma(p, r, s.splat(9.676_032e-3));
    let p = s.fma(p, r, s.splat(5.550_357e-2));
    let p = s.fma(p, r, s.splat(2.402_210_7e-1));
    let p = s.fma(p, r, s.splat(6.931_472e-1));
    let p = s.fma(p, r, s.splat(1.0));
    s.scale(p, n)
}

/// x Φ(x), absolute error below 4e-7.
///
/// `x Φ(x) = max(x, 0) − t Φ(−t)` with `t = |x|`: what is taken off is a smooth bump that has faded to 1e-7 at 5.5, so
/// one polynomial does, without a division and without cancellation.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    // Chebyshev interpolation of t Φ(−t) on 0..5.5, as a polynomial of t mapped to −1..1.
    const BUMP: [f32; 17] = [
        -1.643_713_2e-2,
        -2.678_953_5e-4,
        1.018_768_8e-1,
        -3.841_818_5e-2,
        -2.616_878_2e-1,
        2.338_470_2e-1,
        2.762_417_5e-1,
        -5.463_877e-1,
        1.495_049_1e-1,
        4.601_557e-1,
        -6.278_478e-1,
        2.603_210_5e-1,
        1.788_887_1e-1,
        -3.086_717_7e-1,
        1.912_661_3e-1,
        -6.057_822_7e-2,
        8.194_349e-3,
    ];
    let t = s.min(s.splat(5.5), s.abs(x));
    let u = s.fma(t, s.splat(2.0 / 5.5), s.splat(-1.0));
    let mut bump = s.splat(BUMP[0]);
    for &c in &BUMP[1..] {
        bump = s.fma(bump, u, s.splat(c));
    }
    s.sub(s.max(x, s.splat(0.0)), bump)
}

/// 1 / (1 + e⁻ˣ), absolute error below 2e-7.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}

/// x / (1 + e⁻ˣ), relative error below 1e-6.
#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: S::V) -> S::V {
    s.div(x, s.add(s.splat(1.0), exp(s, s.sub(s.splat(0.0), x))))
}

/// sin x and cos x for |x| < 1e4, absolute error below 1e-6.
#[inline(always)]
pub(crate) fn sin_cos<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let turns = s.mul(x, s.splat(std::f32::consts::FRAC_1_PI));
    let n = s.round(turns);
    let sin = half_wave(s, x, n, n);
    // cos x = sin(x + π/2): the multiples of π in between.
    let m = s.round(s.add(turns, s.splat(0.5)));
    let cos = half_wave(s, x, s.sub(m, s.splat(0.5)), m);
    (sin, cos)
}

/// `(−1)^parity · sin(x − n π)`, for |x − n π| <= π/2.
#[inline(always)]
fn half_wave<S: Simd>(s: S, x: S::V, n: S::V, parity: S::V) -> S::V {
    // π in three parts, the first two with few bits so that their products with n are exact.
    let r = s.fma(n, s.splat(-3.140_625), x);
    let r = s.fma(n, s.splat(-9.670_257_6e-4), r);
    let r = s.fma(n, s.splat(-6.277_114e-7), r);
    let square = s.mul(r, r);
    // Taylor up to r¹¹; at π/2 the next term is 6e-8.
    let p = s.splat(-2.505_210_8e-8);
    let p = s.fma(p, square, s.splat(2.755_731_9e-6));
    let p = s.fma(p, square, s.splat(-1.984_127e-4));
    let p = s.fma(p, square, s.splat(8.333_333e-3));
    let p = s.fma(p, square, s.splat(-1.666_666_7e-1));
    let sin = s.fma(s.mul(p, square), r, r);
    // 1 for even, −1 for odd, from what halving leaves over.
    let half = s.mul(parity, s.splat(0.5));
    let odd = s.abs(s.sub(half, s.round(half)));
    s.mul(sin, s.fma(odd, s.splat(-4.0), s.splat(1.0)))
}

/// The activation of a vector.
#[inline(always)]
pub(crate) fn activate<S: Simd>(s: S, activation: Activation, x: S::V) -> S::V {
    match activation {
        Activation::Identity => x,
        Activation::Relu => s.max(x, s.splat(0.0)),
        Activation::Relu6 => s.min(s.max(x, s.splat(0.0)), s.splat(6.0)),
        Activation::Gelu => gelu(s, x),
        Activation::Sigmoid => sigmoid(s, x),
        Activation::Silu => silu(s, x),
    }
}

/// About how many cycles an activation takes per vector, for the decision whether to share work.
pub(crate) fn activation_cycles(activation: Activation) -> u64 {
    match activation {
        Activation::Identity => 0,
        Activation::Relu | Activation::Relu6 => 2,
        Activation::Gelu | Activation::Sigmoid | Activation::Silu => 30,
    }
}

#[cfg(test)]
#[path = "math_tests.rs"]
mod tests;
