//! Attention with keys by column and row, one query at a time.

use super::linear::dot;
use crate::checks::{self, AxialSizes};
use crate::{AxialAttention, Result, Tensor};

pub(super) fn axial_attention(a: &AxialAttention, out: &mut Tensor) -> Result<()> {
    let sizes = checks::axial_attention(a)?;
    let AxialSizes { maps, grid: [rows, columns], beside, channels, key_channels, value_channels, .. } =
        sizes;
    let (cells, half) = (maps * rows * columns, channels / 2);
    let placed = |from: &[f32], matrix: &Tensor, place: usize| -> Result<Vec<f32>> {
        let matrix = &matrix.f32()?[place * (key_channels + 1) * half..][..(key_channels + 1) * half];
        let number = |c: usize| {
            let products = (0..key_channels).map(|k| f64::from(matrix[k * half + c]) * f64::from(from[k]));
            (products.sum::<f64>() + f64::from(matrix[key_channels * half + c])) as f32
        };
        Ok((0..half).map(number).collect())
    };
    let mut keys = Vec::with_capacity(cells + beside);
    for index in 0..cells + beside {
        let (tensor, row) = match a.beside {
            Some(beside) if index >= cells => (beside, index - cells),
            _ => (a.keys, index),
        };
        let [x, y] = if index < cells { [index % columns, index / columns % rows] } else { [0, 0] };
        let from = &tensor.f32()?[row * key_channels..][..key_channels];
        let [of_column, of_row] = [placed(from, a.columns, x)?, placed(from, a.rows, y)?];
        // In the order of the queries' quarters.
        let [first, third] = [&of_column[..half / 2], &of_column[half / 2..]];
        let [second, fourth] = [&of_row[..half / 2], &of_row[half / 2..]];
        keys.push([first, second, third, fourth].concat());
    }
    let (q, values) = (a.q.f32()?, a.values.f32()?);
    for (query, y) in q.chunks_exact(channels).zip(out.f32_mut()?.chunks_exact_mut(value_channels)) {
        let logits: Vec<f32> = keys.iter().map(|key| a.scale * dot(query, key)).collect();
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for (c, y) in y.iter_mut().enumerate() {
            let weighted = weights.iter().enumerate();
            let weighted = weighted.map(|(key, weight)| weight * f64::from(values[key * value_channels + c]));
            *y = (weighted.sum::<f64>() / sum) as f32;
        }
    }
    Ok(())
}
