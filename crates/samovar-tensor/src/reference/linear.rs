//! Matrix products and layer normalisation.

use super::elementwise::{apply, finish};
use super::matrix::{Matrix, quantised_product};
use crate::{Activation, Epilogue, LayerNorm, Linear, Result, Tensor};

pub(super) fn linear(x: &Tensor, layer: &Linear, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
    let weight: &Matrix = layer.weight.get("linear", "reference")?;
    let bias = layer.bias.as_ref().map(Tensor::f32).transpose()?;
    // Layers without inputs have rows, too.
    let (x, rows) = (x.f32()?, x.shape().rows());
    let x_rows = (0..rows).map(|row| &x[row * layer.inputs..][..layer.inputs]);
    if let Some(scales) = &weight.scales {
        for (x_row, out_row) in x_rows.zip(out.f32_mut()?.chunks_exact_mut(layer.outputs.max(1))) {
            quantised_product(x_row, &weight.values, scales, out_row)?;
            out_row.iter_mut().enumerate().for_each(|(o, y)| *y += bias.map_or(0.0, |bias| bias[o]));
        }
        return finish(epilogue, out);
    }
    let weight = weight.values.f32()?;
    for (x_row, out_row) in x_rows.zip(out.f32_mut()?.chunks_exact_mut(layer.outputs.max(1))) {
        for (o, y) in out_row.iter_mut().enumerate() {
            let w_row = &weight[o * layer.inputs..][..layer.inputs];
            *y = dot(x_row, w_row) + bias.map_or(0.0, |bias| bias[o]);
        }
    }
    finish(epilogue, out)
}

pub(super) fn matmul_transposed(a: &Tensor, c: &Tensor, out: &mut Tensor) -> Result<()> {
    let [batch, m, k] = a.shape().fixed("matmul_transposed")?;
    let [c_batch, n, _] = c.shape().fixed("matmul_transposed")?;
    let (a, c, out) = (a.f32()?, c.f32()?, out.f32_mut()?);
    for b in 0..batch {
        let c_of_batch = &c[b % c_batch * n * k..][..n * k];
        for i in 0..m {
            for j in 0..n {
                out[(b * m + i) * n + j] = dot(&a[(b * m + i) * k..][..k], &c_of_batch[j * k..][..k]);
            }
        }
    }
    Ok(())
}

pub(super) fn layer_norm(x: &Tensor, norm: &LayerNorm, act: Activation, out: &mut Tensor) -> Result<()> {
    let channels = x.shape().channels();
    let (gamma, beta) = (norm.gamma.f32()?, norm.beta.f32()?);
    for (x_row, out_row) in
        x.f32()?.chunks_exact(channels.max(1)).zip(out.f32_mut()?.chunks_exact_mut(channels.max(1)))
    {
        let mean = x_row.iter().map(|&v| f64::from(v)).sum::<f64>() / channels as f64;
        let variance = x_row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / channels as f64;
        let scale = 1.0 / (variance + f64::from(norm.epsilon)).sqrt();
        for c in 0..channels {
            let normalised = ((f64::from(x_row[c]) - mean) * scale) as f32;
            out_row[c] = apply(act, normalised * gamma[c] + beta[c]);
        }
    }
    Ok(())
}

/// Inner product, summed in double precision: the reference is the answer, not one more rounding.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() as f32
}
