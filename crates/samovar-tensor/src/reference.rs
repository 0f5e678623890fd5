//! The operators as formulas: scalar, sequential, exact. Every backend is tested against these.

mod attention;
mod convolution;
mod decoder;
mod elementwise;
mod layout;
mod linear;
mod resize;

use std::sync::Arc;

use crate::{
    Activation, Attention, BinaryOp, Conv2d, Conv2dGeometry, Epilogue, FoldedAttention, Kernels, LayerNorm,
    Linear, MaskHead, Packed, Pool, ResizeMode, Result, RowScale, Shape, Tensor,
};

/// The scalar reference backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

impl Kernels for Reference {
    fn name(&self) -> String {
        "reference".into()
    }

    fn scratch_bytes(&self) -> usize {
        // Attention keeps one row of logits and one of positions; longer rows than this do not occur.
        1 << 20
    }

    fn pack_linear(&self, pool: &Arc<Pool>, weight: &Tensor) -> Result<Packed> {
        pack(pool, weight)
    }

    fn pack_conv2d(&self, pool: &Arc<Pool>, weight: &Tensor, _: &Conv2dGeometry) -> Result<Packed> {
        pack(pool, weight)
    }

    fn linear(&self, x: &Tensor, layer: &Linear, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        linear::linear(x, layer, epilogue, out)
    }

    fn conv2d(&self, x: &Tensor, layer: &Conv2d, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        convolution::conv2d(x, layer, epilogue, out)
    }

    fn depth_to_space(&self, x: &Tensor, factor: usize, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        convolution::depth_to_space(x, factor, epilogue, out)
    }

    fn layer_norm(
        &self,
        x: &Tensor,
        norm: &LayerNorm,
        activation: Activation,
        out: &mut Tensor,
    ) -> Result<()> {
        linear::layer_norm(x, norm, activation, out)
    }

    fn attention(&self, attention: &Attention, out: &mut Tensor) -> Result<()> {
        attention::attention(attention, out)
    }

    fn folded_attention(&self, attention: &FoldedAttention, out: &mut Tensor) -> Result<()> {
        decoder::folded_attention(attention, out)
    }

    fn pack_mask_head(&self, pool: &Arc<Pool>, first: &Tensor, second: &Tensor) -> Result<Packed> {
        decoder::pack_mask_head(pool, first, second)
    }

    fn mask_logits(&self, x: &Tensor, head: &MaskHead, vectors: &Tensor, out: &mut Tensor) -> Result<()> {
        decoder::mask_logits(x, head, vectors, out)
    }

    fn matmul_transposed(&self, a: &Tensor, c: &Tensor, out: &mut Tensor) -> Result<()> {
        linear::matmul_transposed(a, c, out)
    }

    fn binary(&self, op: BinaryOp, a: &Tensor, b: &Tensor, act: Activation, out: &mut Tensor) -> Result<()> {
        elementwise::binary(op, a, b, act, out)
    }

    fn activation(&self, x: &Tensor, activation: Activation, out: &mut Tensor) -> Result<()> {
        elementwise::activation(x, activation, out)
    }

    fn resize(&self, x: &Tensor, mode: ResizeMode, out: &mut Tensor) -> Result<()> {
        resize::resize(x, mode, out)
    }

    fn fourier_features(&self, x: &Tensor, gaussian: &Tensor, out: &mut Tensor) -> Result<()> {
        elementwise::fourier_features(x, gaussian, out)
    }

    fn concat(&self, parts: &[&Tensor], axis: usize, out: &mut Tensor) -> Result<()> {
        layout::concat(parts, axis, out)
    }

    fn slice(&self, x: &Tensor, axis: usize, start: usize, out: &mut Tensor) -> Result<()> {
        layout::slice(x, axis, start, out)
    }

    fn transpose(&self, x: &Tensor, out: &mut Tensor) -> Result<()> {
        layout::transpose(x, out)
    }
}

/// The reference reads weights in their own order, so packing is a copy.
fn pack(pool: &Arc<Pool>, weight: &Tensor) -> Result<Packed> {
    if let Some(scales) = weight.scales() {
        let mut copy = Tensor::allocate(pool, Shape::new(weight.dims()), crate::DType::I8)?;
        copy.raw_mut()?.copy_from_slice(weight.raw().unwrap_or(&[]));
        let size_bytes = copy.size_bytes() + size_of_val(scales);
        return Ok(Packed::new(copy.attach_scales(scales.into()), size_bytes));
    }
    let mut copy = Tensor::allocate(pool, Shape::new(weight.dims()), crate::DType::F32)?;
    copy.f32_mut()?.copy_from_slice(&weight.to_f32_vec()?);
    let size_bytes = copy.size_bytes();
    Ok(Packed::new(copy, size_bytes))
}

/// The product of 8-bit numbers, `scale · Σ (u − zero) w` for every output: exact but for the last two roundings.
fn quantised_product(row: &[f32], weight: &Tensor, outputs: &mut [f32]) -> Result<()> {
    let scales = weight.scales().unwrap_or(&[]);
    let rounding = RowScale::of_row(row.iter().copied());
    let row: Vec<i32> = row.iter().map(|&x| i32::from(rounding.quantise(x)) - rounding.zero).collect();
    let weights = weight.i8()?.chunks_exact(row.len().max(1));
    for ((y, weights), scale) in outputs.iter_mut().zip(weights).zip(scales) {
        let sum: i32 = row.iter().zip(weights).map(|(&u, &w)| u * i32::from(w)).sum();
        *y = sum as f32 * rounding.scale * scale;
    }
    Ok(())
}
