//! The fused operators of the mask decoder, step by step.

use std::sync::Arc;

use super::linear::dot;
use super::matrix::Matrix;
use super::{convolution, linear};
use crate::{
    Activation, Epilogue, Error, FoldedAttention, LayerNorm, MaskHead, Packed, Pool, Result, Shape, Tensor,
};

pub(super) fn folded_attention(a: &FoldedAttention, out: &mut Tensor) -> Result<()> {
    let [x_batch, rows, channels] = a.x.shape().fixed("folded_attention")?;
    let [batch, tokens, key_columns] = a.keys.shape().fixed("folded_attention")?;
    let (x, positions, keys, values) = (a.x.f32()?, a.positions.f32()?, a.keys.f32()?, a.values.f32()?);
    let mut sums = Vec::with_capacity(out.shape().len());
    for b in 0..batch {
        for n in 0..rows {
            let x = &x[(b % x_batch * rows + n) * channels..][..channels];
            let placed: Vec<f32> = x.iter().zip(&positions[n * channels..]).map(|(x, p)| x + p).collect();
            let mut sum: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
            for head in 0..a.heads {
                let key = |t: usize| &keys[(b * tokens + t) * key_columns..][..key_columns];
                let logits = (0..tokens).map(|t| {
                    let constant = key(t)[a.heads * channels + head];
                    dot(&placed, &key(t)[head * channels..][..channels]) + constant
                });
                let logits: Vec<f32> = logits.collect();
                let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let weights: Vec<f64> = logits.iter().map(|l| f64::from(l - largest).exp()).collect();
                let total: f64 = weights.iter().sum();
                for (t, weight) in weights.iter().enumerate() {
                    let value = &values[((b * tokens + t) * a.heads + head) * channels..][..channels];
                    for (sum, &value) in sum.iter_mut().zip(value) {
                        *sum += weight / total * f64::from(value);
                    }
                }
            }
            sums.extend(sum.into_iter().map(|sum| sum as f32));
        }
    }
    let sums = Tensor::from_values(*out.shape(), &sums);
    linear::layer_norm(&sums, a.norm, Activation::Identity, out)
}

pub(super) fn pack_mask_head(pool: &Arc<Pool>, first: &Tensor, second: &Tensor) -> Result<Packed> {
    let both = [Matrix::copy(pool, first)?, Matrix::copy(pool, second)?];
    let size_bytes = both.iter().map(Matrix::size_bytes).sum();
    Ok(Packed::new(both, size_bytes))
}

pub(super) fn mask_logits(x: &Tensor, head: &MaskHead, vectors: &Tensor, out: &mut Tensor) -> Result<()> {
    const OP: &str = "mask_logits";
    let (weights, biases) = head.fused().ok_or_else(|| Error::shape(OP, "a head for composing"))?;
    let [first, second]: &[Matrix; 2] = weights.get(OP, "reference")?;
    let gelu = |x: &Tensor, norm: &LayerNorm| -> Result<Tensor> {
        let mut y = zeros(*x.shape());
        linear::layer_norm(x, norm, Activation::Gelu, &mut y)?;
        Ok(y)
    };
    let x = enlarge(x, first, &biases[0], head.factors()[0], &Epilogue::NONE)?;
    let x = gelu(&x, head.norm())?;
    let x = enlarge(&x, second, &biases[1], head.factors()[1], &Epilogue::act(head.activation()))?;
    let [batch, height, width, channels] = x.shape().fixed(OP)?;
    linear::matmul_transposed(vectors, &x.reshape([batch, height * width, channels])?, out)
}

/// A transposed convolution by its matrix.
fn enlarge(x: &Tensor, matrix: &Matrix, bias: &Tensor, factor: usize, epilogue: &Epilogue) -> Result<Tensor> {
    let [batch, height, width, inputs] = x.shape().fixed("mask_logits")?;
    let outputs = matrix.values.dims()[0];
    let bias = bias.f32()?.repeat(factor * factor);
    let mut taps = zeros(Shape::new(&[batch, height, width, outputs]));
    let weight = matrix.values.f32()?;
    for (x, y) in x.f32()?.chunks_exact(inputs).zip(taps.f32_mut()?.chunks_exact_mut(outputs)) {
        for (o, y) in y.iter_mut().enumerate() {
            *y = dot(x, &weight[o * inputs..][..inputs]) + bias[o];
        }
    }
    let shape = Shape::new(&[batch, factor * height, factor * width, outputs / (factor * factor)]);
    let mut enlarged = zeros(shape);
    convolution::depth_to_space(&taps, factor, epilogue, &mut enlarged)?;
    Ok(enlarged)
}

fn zeros(shape: Shape) -> Tensor {
    Tensor::from_values(shape, &vec![0.0; shape.len()])
}
