//! Operands of the fused operators of SAM's mask decoder.

use crate::{Activation, LayerNorm, Packed, Tensor};

/// Attention of many rows to a few tokens, with its projections folded into the tokens' keys and values, and what
/// follows it:
///
/// ```text
/// y = norm(x + Σ_h Σ_t softmax_t((x + positions) · key_th + constant_th) · value_th)
/// ```
///
/// Instead of projecting every row of `x` to queries and back, the tokens carry the projections: `key_th = W_qᵀ k_th`,
/// `value_th = W_o v_th`. With few tokens that is less work, and exact but for rounding.
#[derive(Debug, Clone, Copy)]
pub struct FoldedAttention<'a> {
    /// `[P or 1, N, C]`
    pub x: &'a Tensor,
    /// `[1, N, C]`, added to `x` for the logits alone.
    pub positions: &'a Tensor,
    /// `[P, T, heads · C + heads]`: the keys of all heads, then a constant for each. The scale is part of both.
    pub keys: &'a Tensor,
    /// `[P, T, heads · C]`
    pub values: &'a Tensor,
    /// Number of heads.
    pub heads: usize,
    /// Of the sum.
    pub norm: &'a LayerNorm,
}

/// Two transposed convolutions whose kernels equal their strides, and the product with mask vectors:
///
/// ```text
/// logits = vectors · act(conv2(gelu(norm(conv1(x)))))
/// ```
///
/// Every token of `x` becomes a square of logits by itself, so nothing in between needs to exist as a whole.
#[derive(Debug, Clone)]
pub struct MaskHead {
    /// Channels read.
    pub inputs: usize,
    /// Channels after the first and the second convolution.
    pub channels: [usize; 2],
    /// Factors by which they enlarge the map.
    pub factors: [usize; 2],
    /// Both matrices, `[factor · factor · outputs, inputs]` before packing, ordered row, column, channel.
    pub weights: Packed,
    /// One number per channel.
    pub biases: [Tensor; 2],
    /// Between them, with GELU behind it.
    pub norm: LayerNorm,
    /// After the second.
    pub activation: Activation,
}
