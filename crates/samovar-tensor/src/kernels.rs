//! The operator set a backend implements: a core that every backend has, and fused operators that pay.

use std::sync::Arc;

use crate::checks::AxialSizes;
use crate::cross_attention::{CrossAttention, CrossAttentionRoute};
use crate::memory::{Memory, host_memory};
use crate::packed::{PackRequest, Packed, PackedSize};
use crate::{
    Activation, Attention, AxialAttention, BinaryOp, Conv2d, Conv2dGeometry, DeformableAttention, Epilogue,
    Error, FoldedAttention, LayerNorm, Linear, MaskHead, Pool, ResizeMode, Result, Rows, Tensor,
};

/// What a backend may do in one go instead of step by step. [`crate::Device`] composes what a backend does not fuse from
/// the core, so that every model runs on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fused {
    /// Activation and residual with the result of [`Kernels::linear`], [`Kernels::conv2d`] and
    /// [`Kernels::depth_to_space`]; without it they are called with [`Epilogue::NONE`] alone.
    Epilogue,
    /// [`crate::AttentionBias::KeyPositions`] in [`Kernels::attention`]; without it they are added to the keys before.
    KeyPositions,
    /// [`Kernels::folded_attention`].
    FoldedAttention,
    /// [`Kernels::axial_attention`].
    AxialAttention,
    /// [`Kernels::pack_mask_head`] and [`Kernels::mask_logits`].
    MaskLogits,
}

/// The operators of a backend.
///
/// [`crate::Device`] has checked all shapes before a call, that all operands are in the backend's memory and weights in its
/// layout, and allocated `out`; implementations fill every element of it. A backend that would otherwise read or write
/// beyond its operands checks once more ([`crate::checks`]), as nothing forbids to call it directly. Activations are `F32`, channels last. Scratch
/// memory of an implementation is bounded by [`Kernels::scratch_bytes`], whatever the operands.
///
/// A call may return before the work is done, as long as work happens in the order of the calls, uploads and downloads of
/// [`Kernels::memory`] included. What fails later fails every later call and download too, until
/// [`Memory::synchronise`] has reported it: nothing is read that was not computed. What was on its way then is lost.
pub trait Kernels: Send + Sync {
    // ---- the backend -----------------------------------------------------------------------------------------------

    /// Name for reports: `reference`, `cpu avx512, 2 threads`.
    fn name(&self) -> String;

    /// Most bytes the backend uses beside operands and results.
    fn scratch_bytes(&self) -> usize;

    /// Takes threads and scratch memory now, where a refusal can still be reported.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] or [`Error::Backend`].
    fn reserve(&self) -> Result<()> {
        Ok(())
    }

    /// The memory its operands lie in.
    fn memory(&self) -> Arc<dyn Memory> {
        host_memory()
    }

    /// In which order weights are packed: two backends of the same layout read each other's weights.
    fn weight_layout(&self) -> String;

    /// What packing takes. What is counted here must be what [`Kernels::pack_linear`] and its sisters take.
    fn packed_size(&self, request: &PackRequest) -> PackedSize;

    /// Whether it has this in one go.
    fn fuses(&self, fused: Fused) -> bool;

    /// By which of two routes to the same result an attention between the tokens of prompts and of an image is faster
    /// here. Unless a backend knows better, the one with fewer multiplications.
    fn cross_attention_route(&self, attention: &CrossAttention) -> CrossAttentionRoute {
        attention.fewest_multiplications()
    }

    /// Whether [`Kernels::axial_attention`] is faster here than attention to keys that are made first; asked where it is fused. Unless a
    /// backend knows better, where it has fewer multiplications.
    fn axial_attention_pays(&self, sizes: &AxialSizes) -> bool {
        let [by_matrices, by_keys] = sizes.multiplications();
        by_matrices <= by_keys
    }

    // ---- the core --------------------------------------------------------------------------------------------------

    /// Orders a matrix `[outputs, inputs]` for [`Kernels::linear`], in the precision it has: a float type, or 8-bit values
    /// with [`Tensor::scales`], which [`Kernels::linear`] then multiplies with rows rounded by [`crate::RowScale`].
    /// The matrix is in host memory; the result comes from `pool`.
    fn pack_linear(&self, pool: &Arc<Pool>, weight: &Tensor) -> Result<Packed>;

    /// Orders `[outputs, inputs / groups, kernel, kernel]` for [`Kernels::conv2d`], in the precision it has, where
    /// a row is what lies under the kernel. The weight is in host memory; the result comes from `pool`.
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

    /// See [`DeformableAttention`].
    fn deformable_attention(&self, attention: &DeformableAttention, out: &mut Tensor) -> Result<()>;

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

    /// `exp x` over the sum of its row, for every number of every row of `x`.
    fn softmax(&self, x: &Tensor, out: &mut Tensor) -> Result<()>;

    /// Resizes `[batch, height, width, channels]` to the height and width of `out`.
    fn resize(&self, x: &Tensor, mode: ResizeMode, out: &mut Tensor) -> Result<()>;

    /// The largest number of every square of `factor` x `factor` cells of a map `[batch, height, width, columns]`, in the
    /// columns from the first on that `out: [batch, height / factor, width / factor, channels]` has. What a side has beyond
    /// whole squares is left out.
    fn max_pool2d(&self, x: &Rows, factor: usize, out: &mut Tensor) -> Result<()>;

    /// Random Fourier features of `x: [.., 2]` in 0..1: with `p = 2π (2x − 1) G`, the row `[sin p, cos p]`.
    /// `gaussian` is `[2, features]`.
    fn fourier_features(&self, x: &Tensor, gaussian: &Tensor, out: &mut Tensor) -> Result<()>;

    /// Turns pairs of numbers, as rotary position embeddings do: with `[a, b]` the halves of a row of as many columns of `x` as
    /// `table` has, from its first on, and `[cos, sin]` those of the row of `table`, whose rows repeat,
    /// `[a cos − b sin, a sin + b cos]`.
    fn rotate(&self, x: &Rows, table: &Tensor, out: &mut Tensor) -> Result<()>;

    /// The `k` largest numbers of every row of `x: [.., n]`, the largest first and of equal ones the first, and then their places in
    /// the row: `out` is `[.., 2 k]`. What is not a number is taken for the smallest.
    fn top_k(&self, x: &Tensor, k: usize, out: &mut Tensor) -> Result<()>;

    /// Rows of `x: [batch or 1, n, channels]` by their places, columns of `places: [batch, ..]` from the first on: `out` is
    /// `[batch, count, channels]`. A place is a number cut to a whole one; one beyond the last row (or below the first) is taken for it.
    fn gather_rows(&self, x: &Tensor, places: &Rows, out: &mut Tensor) -> Result<()>;

    /// Concatenates along `axis`; a tensor whose outermost dimension is 1 repeats over the batch of `out`.
    fn concat(&self, parts: &[&Tensor], axis: usize, out: &mut Tensor) -> Result<()>;

    /// Columns or entries `start..start + len` of `axis`, copied.
    fn slice(&self, x: &Tensor, axis: usize, start: usize, out: &mut Tensor) -> Result<()>;

    /// `[batch, height, width, channels]` to `[batch, channels, height, width]`: the transposition of the last
    /// dimension with the ones between it and the batch. With `[batch, channels, rows]` input it is its own inverse.
    fn transpose(&self, x: &Tensor, out: &mut Tensor) -> Result<()>;

    /// Every element of `out` is `value`.
    fn fill(&self, value: f32, out: &mut Tensor) -> Result<()>;

    // ---- in one go, for those who say so in `fuses` ----------------------------------------------------------------

    /// See [`FoldedAttention`].
    fn folded_attention(&self, _: &FoldedAttention, _: &mut Tensor) -> Result<()> {
        Err(self.not_fused(Fused::FoldedAttention))
    }

    /// See [`AxialAttention`].
    fn axial_attention(&self, _: &AxialAttention, _: &mut Tensor) -> Result<()> {
        Err(self.not_fused(Fused::AxialAttention))
    }

    /// Orders the two matrices of a [`MaskHead`], `[factor · factor · outputs, inputs]` in host memory. The result comes
    /// from `pool`.
    fn pack_mask_head(&self, _: &Arc<Pool>, _first: &Tensor, _second: &Tensor) -> Result<Packed> {
        Err(self.not_fused(Fused::MaskLogits))
    }

    /// See [`MaskHead`].
    fn mask_logits(&self, _x: &Tensor, _: &MaskHead, _vectors: &Tensor, _out: &mut Tensor) -> Result<()> {
        Err(self.not_fused(Fused::MaskLogits))
    }

    /// The refusal of what [`Kernels::fuses`] denies.
    fn not_fused(&self, fused: Fused) -> Error {
        Error::Backend { device: self.name(), what: format!("{fused:?} is not among what it fuses") }
    }
}
