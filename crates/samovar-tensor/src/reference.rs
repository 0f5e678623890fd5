//! The operators as formulas: scalar, sequential, exact. Every backend is tested against these.

mod attention;
mod axial;
mod convolution;
mod decoder;
mod deformable;
mod elementwise;
mod layout;
mod linear;
mod matrix;
mod resize;
mod selection;

use std::sync::Arc;

use crate::{
    Activation, Attention, AxialAttention, BinaryOp, Conv2d, Conv2dGeometry, DeformableAttention, Epilogue,
    FoldedAttention, Fused, Kernels, LayerNorm, Linear, MaskHead, PackRequest, Packed, PackedSize, Pool,
    Precision, ResizeMode, Result, Rows, Tensor,
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

    fn weight_layout(&self) -> String {
        "reference".into()
    }

    fn packed_size(&self, request: &PackRequest) -> PackedSize {
        let matrix = |outputs: usize, len: usize, precision| match precision {
            Precision::Int8 => [len, outputs * size_of::<f32>()],
            _ => [len * size_of::<f32>(), 0],
        };
        let kept_bytes = match *request {
            PackRequest::Linear { outputs, inputs, precision } => {
                matrix(outputs, outputs * inputs, precision)
            }
            PackRequest::Conv2d { outputs, inputs, geometry, precision } => {
                let taps = geometry.kernel * geometry.kernel;
                matrix(outputs, outputs * inputs / geometry.groups * taps, precision)
            }
            PackRequest::MaskHead { matrices } => {
                matrices.map(|[rows, columns]| rows * columns * size_of::<f32>())
            }
        };
        PackedSize { kept_bytes, temporary_bytes: 0 }
    }

    fn fuses(&self, _: Fused) -> bool {
        true
    }

    fn axial_attention_pays(&self, _: &crate::checks::AxialSizes) -> bool {
        // What a formula takes decides nothing, and a model that is held to this one should meet it.
        true
    }

    fn pack_linear(&self, pool: &Arc<Pool>, weight: &Tensor) -> Result<Packed> {
        matrix::pack(pool, weight)
    }

    fn pack_conv2d(&self, pool: &Arc<Pool>, weight: &Tensor, _: &Conv2dGeometry) -> Result<Packed> {
        matrix::pack(pool, weight)
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

    fn deformable_attention(&self, attention: &DeformableAttention, out: &mut Tensor) -> Result<()> {
        deformable::deformable_attention(attention, out)
    }

    fn folded_attention(&self, attention: &FoldedAttention, out: &mut Tensor) -> Result<()> {
        decoder::folded_attention(attention, out)
    }

    fn axial_attention(&self, attention: &AxialAttention, out: &mut Tensor) -> Result<()> {
        axial::axial_attention(attention, out)
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

    fn softmax(&self, x: &Tensor, out: &mut Tensor) -> Result<()> {
        elementwise::softmax(x, out)
    }

    fn resize(&self, x: &Tensor, mode: ResizeMode, out: &mut Tensor) -> Result<()> {
        resize::resize(x, mode, out)
    }

    fn max_pool2d(&self, x: &Rows, factor: usize, out: &mut Tensor) -> Result<()> {
        resize::max_pool2d(x, factor, out)
    }

    fn fourier_features(&self, x: &Tensor, gaussian: &Tensor, out: &mut Tensor) -> Result<()> {
        elementwise::fourier_features(x, gaussian, out)
    }

    fn rotate(&self, x: &Rows, table: &Tensor, out: &mut Tensor) -> Result<()> {
        elementwise::rotate(x, table, out)
    }

    fn top_k(&self, x: &Tensor, k: usize, out: &mut Tensor) -> Result<()> {
        selection::top_k(x, k, out)
    }

    fn gather_rows(&self, x: &Tensor, places: &Rows, out: &mut Tensor) -> Result<()> {
        selection::gather_rows(x, places, out)
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

    fn fill(&self, value: f32, out: &mut Tensor) -> Result<()> {
        out.f32_mut()?.fill(value);
        Ok(())
    }
}
