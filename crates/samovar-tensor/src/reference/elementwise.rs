//! Activations, epilogues and element-wise operators.

use std::f64::consts::{PI, SQRT_2};

use crate::{Activation, BinaryOp, Epilogue, Result, Rows, Tensor};

pub(super) fn apply(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Identity => x,
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::Gelu => (0.5 * f64::from(x) * (1.0 + erf(f64::from(x) / SQRT_2))) as f32,
        Activation::Sigmoid => (1.0 / (1.0 + (-f64::from(x)).exp())) as f32,
        Activation::Silu => (f64::from(x) / (1.0 + (-f64::from(x)).exp())) as f32,
    }
}

/// The error function to double precision: its Taylor series near zero, a continued fraction of erfc further out.
/// (Abramowitz and Stegun, 7.1.5 and 7.1.14.)
fn erf(x: f64) -> f64 {
    let magnitude = x.abs();
    if magnitude < 2.0 {
        let mut term = magnitude;
        let mut sum = magnitude;
        for n in 1..60 {
            term *= -magnitude * magnitude / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        (2.0 / PI.sqrt() * sum).copysign(x)
    } else {
        let fraction = (1..=60).rev().fold(magnitude, |tail, n| magnitude + f64::from(n) / 2.0 / tail);
        (1.0 - (-magnitude * magnitude).exp() / (PI.sqrt() * fraction)).copysign(x)
    }
}

/// Applies activation and residual to a result that already holds the bias.
pub(super) fn finish(epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
    let residual = match epilogue.residual {
        Some(residual) => Some((residual.tensor.f32()?, residual.before_activation)),
        None => None,
    };
    for (i, y) in out.f32_mut()?.iter_mut().enumerate() {
        *y = match residual {
            None => apply(epilogue.activation, *y),
            Some((r, true)) => apply(epilogue.activation, *y + r[i % r.len()]),
            Some((r, false)) => apply(epilogue.activation, *y) + r[i % r.len()],
        };
    }
    Ok(())
}

pub(super) fn binary(op: BinaryOp, a: &Tensor, b: &Tensor, act: Activation, out: &mut Tensor) -> Result<()> {
    let (a, b) = (a.f32()?, b.f32()?);
    for (i, y) in out.f32_mut()?.iter_mut().enumerate() {
        let (left, right) = (a[i], b[i % b.len()]);
        *y = apply(
            act,
            match op {
                BinaryOp::Add => left + right,
                BinaryOp::Multiply => left * right,
                BinaryOp::Maximum => left.max(right),
                BinaryOp::Minimum => left.min(right),
            },
        );
    }
    Ok(())
}

pub(super) fn activation(x: &Tensor, activation: Activation, out: &mut Tensor) -> Result<()> {
    for (&x, y) in x.f32()?.iter().zip(out.f32_mut()?) {
        *y = apply(activation, x);
    }
    Ok(())
}

pub(super) fn softmax(x: &Tensor, out: &mut Tensor) -> Result<()> {
    let columns = x.shape().channels().max(1);
    for (row, to) in x.f32()?.chunks_exact(columns).zip(out.f32_mut()?.chunks_exact_mut(columns)) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f64> = row.iter().map(|x| f64::from(x - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        to.iter_mut().zip(weights).for_each(|(to, weight)| *to = (weight / sum) as f32);
    }
    Ok(())
}

pub(super) fn fourier_features(x: &Tensor, gaussian: &Tensor, out: &mut Tensor) -> Result<()> {
    let gaussian_values = gaussian.f32()?;
    let features = gaussian.shape().channels();
    let positions = x.f32()?.as_chunks::<2>().0;
    for (&[x, y], row) in positions.iter().zip(out.f32_mut()?.chunks_exact_mut(2 * features)) {
        // The phase is computed in f32, as upstream: it is large, so its rounding is part of the model.
        let (x, y) = (2.0 * x - 1.0, 2.0 * y - 1.0);
        for f in 0..features {
            let phase = (x * gaussian_values[f] + y * gaussian_values[features + f]) * std::f32::consts::TAU;
            row[f] = phase.sin();
            row[features + f] = phase.cos();
        }
    }
    Ok(())
}

pub(super) fn rotate(x: &Rows, table: &Tensor, out: &mut Tensor) -> Result<()> {
    let (values, table_values) = (x.tensor.f32()?, table.f32()?);
    let (channels, table_rows) = (table.shape().channels(), table.shape().rows());
    let half = channels / 2;
    for (r, to) in out.f32_mut()?.chunks_exact_mut(channels).enumerate() {
        let from = &values[r * x.stride() + x.first_column..][..channels];
        let angles = &table_values[r % table_rows * channels..][..channels];
        for i in 0..half {
            let ((a, b), (cos, sin)) = ((from[i], from[half + i]), (angles[i], angles[half + i]));
            to[i] = a * cos - b * sin;
            to[half + i] = a * sin + b * cos;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::erf;

    #[test]
    fn erf_agrees_with_published_values() {
        // Abramowitz and Stegun, table 7.1, and symmetry.
        for (x, expected) in
            [(0.0, 0.0), (0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)]
        {
            assert!((erf(x) - expected).abs() < 1e-10, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert!((erf(1.999_999) - erf(2.000_001)).abs() < 1e-6);
        assert!((erf(3.0) - 0.999_977_909_5).abs() < 1e-10);
    }
}
