//! The operator set a backend implements.

use std::sync::Arc;

use crate::{
    Activation, Attention, BinaryOp, Conv2d, Conv2dGeometry, Epilogue, FoldedAttention, LayerNorm, Linear,
    MaskHead, Packed, Pool, ResizeMode, Result, Tensor,
};

/// The operators, coarse and fused.
///
/// [`crate::Device`] has checked all shapes before a call and allocated `out`; implementations fill every element of
/// it. Activations are `F32`, channels last. Scratch memory of an implementation is bounded by
/// [`Kernels::scratch_bytes`], whatever the operands.
pub trait Kernels: Send + Sync {
    /// Name for reports: `reference`, `cpu avx512, 2 threads`.
    fn name(&self) -> String;

    /// Most bytes the backend uses beside operands and results.
    fn scratch_bytes(&self) -> usize;

    /// Orders a matrix `[outputs, inputs]` for [`Kernels::linear`], in the precision it has: a float type, or 8-bit values
    /// with [`Tensor::scales`], which [`Kernels::linear`] then multiplies with rows rounded by [`crate::RowScale`].
    /// Memory comes from `pool`.
    fn pack_linear(&self, pool: &Arc<Pool>, weight: &Tensor) -> Result<Packed>;

    /// Orders `[outputs, inputs / groups, kernel, kernel]` for [`Kernels::conv2d`], in the precision it has, where
    /// a row is what lies under the kernel. Memory comes from `pool`.
    fn pack_conv2d(&self, pool: &Arc<Pool>, weight: &Tensor, geometry: &Conv2dGeometry) -> Result<Packed>;

    /// `out[r] = epilogue(x[r] Wᵀ + b)` for every row.
    fn linear(&self, x: &Tensor, layer: &Linear, epilogue: &Epilogue, out: &mut Tensor) -> Result<()>;

    /// Convolution of `x: [batch, height, width, inputs]`, dense or depthwise, zero padding.
    fn conv2d(&self, x: &Tensor, layer: &Conv2d, epilogue: &Epilogue, out: &mut Tensor) -> Result<()>;

    /// Moves `[batch, height, width, factor · factor · channels]` (ordered row, column, channel) to
    /// `[batch, factor · height, factor · width, channels]`, then the epilogue.
    fn depth_to_space(&self, x: &Tensor, factor: usize, epilogue: &Epilogue, out: &mut Tensor) -> Result<()>;

    /// Normalises every row to mean 0 and variance 1, then scale, shift and activation.
    fn layer_norm(
        &self,
        x: &Tensor,
        norm: &LayerNorm,
        activation: Activation,
        out: &mut Tensor,
    ) -> Result<()>;

    /// Multi-head attention; the result has `heads · value_channels` columns.
    fn attention(&self, attention: &Attention, out: &mut Tensor) -> Result<()>;

    /// See [`FoldedAttention`].
    fn folded_attention(&self, attention: &FoldedAttention, out: &mut Tensor) -> Result<()>;

    /// Orders the two matrices of a [`MaskHead`]. Memory comes from `pool`.
    fn pack_mask_head(&self, pool: &Arc<Pool>, first: &Tensor, second: &Tensor) -> Result<Packed>;

    /// See [`MaskHead`].
    fn mask_logits(&self, x: &Tensor, head: &MaskHead, vectors: &Tensor, out: &mut Tensor) -> Result<()>;

    /// `out[b] = a[b] c[b]ᵀ` for `a: [batch, m, k]` and `c: [batch or 1, n, k]`.
    fn matmul_transposed(&self, a: &Tensor, c: &Tensor, out: &mut Tensor) -> Result<()>;

    /// Element-wise `a op b`, where the rows of `b` repeat, then the activation.
    fn binary(
        &self,
        op: BinaryOp,
        a: &Tensor,
        b: &Tensor,
        activation: Activation,
        out: &mut Tensor,
    ) -> Result<()>;

    /// The activation of every element.
    fn activation(&self, x: &Tensor, activation: Activation, out: &mut Tensor) -> Result<()>;

    /// Resizes `[batch, height, width, channels]` to the height and width of `out`.
    fn resize(&self, x: &Tensor, mode: ResizeMode, out: &mut Tensor) -> Result<()>;

    /// Random Fourier features of `x: [.., 2]` in 0..1: with `p = 2π (2x − 1) G`, the row `[sin p, cos p]`.
    /// `gaussian` is `[2, features]`.
    fn fourier_features(&self, x: &Tensor, gaussian: &Tensor, out: &mut Tensor) -> Result<()>;

    /// Concatenates along `axis`; a tensor whose outermost dimension is 1 repeats over the batch of `out`.
    fn concat(&self, parts: &[&Tensor], axis: usize, out: &mut Tensor) -> Result<()>;

    /// Columns or entries `start..start + len` of `axis`, copied.
    fn slice(&self, x: &Tensor, axis: usize, start: usize, out: &mut Tensor) -> Result<()>;

    /// `[batch, height, width, channels]` to `[batch, channels, height, width]`: the transposition of the last
    /// dimension with the ones between it and the batch. With `[batch, channels, rows]` input it is its own inverse.
    fn transpose(&self, x: &Tensor, out: &mut Tensor) -> Result<()>;
}
