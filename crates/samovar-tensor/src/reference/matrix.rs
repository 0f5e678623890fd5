//! Weights of the reference, and the product with 8-bit ones.

use std::sync::Arc;

use crate::{DType, Packed, Pool, Result, RowScale, Shape, Tensor};

/// Weights as they came, and the factors of 8-bit ones: the reference reads weights in their own order.
pub(super) struct Matrix {
    pub(super) values: Tensor,
    pub(super) scales: Option<Tensor>,
}

impl Matrix {
    pub(super) fn copy(pool: &Arc<Pool>, weight: &Tensor) -> Result<Self> {
        if let Some(scales) = weight.scales() {
            let mut values = Tensor::allocate(pool, *weight.shape(), DType::I8)?;
            values.raw_mut()?.copy_from_slice(weight.raw().unwrap_or(&[]));
            let mut copy = Tensor::allocate(pool, Shape::new(&[scales.len()]), DType::F32)?;
            copy.f32_mut()?.copy_from_slice(scales);
            return Ok(Self { values, scales: Some(copy) });
        }
        let mut values = Tensor::allocate(pool, *weight.shape(), DType::F32)?;
        values.f32_mut()?.copy_from_slice(&weight.to_f32()?);
        Ok(Self { values, scales: None })
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.values.size_bytes() + self.scales.as_ref().map_or(0, Tensor::size_bytes)
    }
}

pub(super) fn pack(pool: &Arc<Pool>, weight: &Tensor) -> Result<Packed> {
    let matrix = Matrix::copy(pool, weight)?;
    let size_bytes = matrix.size_bytes();
    Ok(Packed::new(matrix, size_bytes))
}

/// The product of 8-bit numbers, `scale · Σ (u − zero) w` for every output: exact but for the last two roundings.
pub(super) fn quantised_product(
    row: &[f32],
    weight: &Tensor,
    scales: &Tensor,
    outputs: &mut [f32],
) -> Result<()> {
    let scales = scales.f32()?;
    let rounding = RowScale::of_row(row.iter().copied());
    let row: Vec<i32> = row.iter().map(|&x| i32::from(rounding.quantise(x)) - rounding.zero).collect();
    let weights = weight.i8()?.chunks_exact(row.len().max(1));
    for ((y, weights), scale) in outputs.iter_mut().zip(weights).zip(scales) {
        let sum: i32 = row.iter().zip(weights).map(|(&u, &w)| u * i32::from(w)).sum();
        *y = sum as f32 * rounding.scale * scale;
    }
    Ok(())
}
