//! Operands of the fused operators of SAM's mask decoder.

use crate::packed::Packed;
use crate::{Activation, ConvTranspose2d, LayerNorm, Tensor};

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
    pub(crate) inputs: usize,
    pub(crate) channels: [usize; 2],
    pub(crate) factors: [usize; 2],
    pub(crate) layers: MaskHeadLayers,
    pub(crate) norm: LayerNorm,
    pub(crate) activation: Activation,
}

/// The two convolutions of a [`MaskHead`].
#[derive(Debug, Clone)]
pub(crate) enum MaskHeadLayers {
    /// For a backend that makes logits in one go.
    Fused { weights: Packed, biases: Box<[Tensor; 2]> },
    /// For all others.
    Composed(Box<[ConvTranspose2d; 2]>),
}

impl MaskHead {
    /// Channels read.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Channels after the first and the second convolution.
    pub fn channels(&self) -> [usize; 2] {
        self.channels
    }

    /// Factors by which they enlarge the map.
    pub fn factors(&self) -> [usize; 2] {
        self.factors
    }

    /// Both matrices, `[factor · factor · outputs, inputs]` before packing, ordered row, column, channel, and one bias per
    /// channel of each; `None` on a device that composes the operator.
    pub fn fused(&self) -> Option<(&Packed, &[Tensor; 2])> {
        match &self.layers {
            MaskHeadLayers::Fused { weights, biases } => Some((weights, biases)),
            MaskHeadLayers::Composed(_) => None,
        }
    }

    /// Between them, with GELU behind it.
    pub fn norm(&self) -> &LayerNorm {
        &self.norm
    }

    /// After the second.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// The same head with its numbers elsewhere, for a backend that wraps another and fuses it.
    #[must_use]
    pub fn rehoused(&self, weights: Packed, biases: [Tensor; 2], norm: LayerNorm) -> Self {
        let layers = MaskHeadLayers::Fused { weights, biases: Box::new(biases) };
        Self { layers, norm, ..self.clone() }
    }
}
