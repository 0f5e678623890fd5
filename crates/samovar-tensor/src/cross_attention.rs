//! Attention between the few tokens of a prompt and the many of an image: two routes to one result, of which the backend
//! knows the cheaper.
//!
//! One projects every image token to keys, values or queries, and answers back, as upstream does. The other has all
//! projections on the side of the few tokens: per head, `q·(W_k x) = (W_kᵀ q)·x` and
//! `W_o Σ a W_v x = (W_o W_v) Σ a x`, where the middle matrix of rank `inner_channels / heads` is multiplied out once, when
//! the model is loaded.

use crate::Precision;

/// Who attends to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CrossAttentionDirection {
    /// Keys and values are those of the image.
    TokensToImage,
    /// Queries and results are those of the image, of which every prompt has its own.
    ImageToTokens,
}

/// How a [`CrossAttention`] is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CrossAttentionRoute {
    /// Projections on the side of the tokens: [`crate::AttentionBias::KeyPositions`] with shared keys and values, or
    /// [`crate::FoldedAttention`].
    Folded,
    /// Projections of every image token, and attention with `inner_channels`.
    Projected,
}

/// Sizes of an attention between the tokens of prompts and those of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrossAttention {
    /// Who attends to whom.
    pub direction: CrossAttentionDirection,
    /// Prompts.
    pub prompts: usize,
    /// Tokens of each prompt.
    pub tokens: usize,
    /// Images: `prompts`, or 1 that all of them share.
    pub images: usize,
    /// Tokens of each image.
    pub image_tokens: usize,
    /// Channels of both kinds of tokens.
    pub channels: usize,
    /// Channels inside the attention, of all heads together.
    pub inner_channels: usize,
    /// Number of heads.
    pub heads: usize,
    /// In which the projections are held.
    pub precision: Precision,
}

impl CrossAttention {
    /// The route with fewer multiplications, [`CrossAttentionRoute::Folded`] where they are equal.
    pub fn fewest_multiplications(&self) -> CrossAttentionRoute {
        // Per image token; the few tokens of the prompts do not count.
        let product =
            |factors: &[usize]| factors.iter().fold(1, |product: usize, &f| product.saturating_mul(f));
        let folded = product(&[2, self.prompts, self.tokens, self.heads, self.channels]);
        let projections = match self.direction {
            // Keys and values of every image.
            CrossAttentionDirection::TokensToImage => self.images.saturating_mul(2),
            // Queries of every image, and the answers to every prompt.
            CrossAttentionDirection::ImageToTokens => self.images.saturating_add(self.prompts),
        };
        let projected = product(&[projections, self.channels, self.inner_channels])
            .saturating_add(product(&[2, self.prompts, self.tokens, self.inner_channels]));
        if folded > projected { CrossAttentionRoute::Projected } else { CrossAttentionRoute::Folded }
    }
}
