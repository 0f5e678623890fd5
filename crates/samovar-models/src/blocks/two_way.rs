//! The two-way transformer: prompt tokens and image tokens attend to each other.

use samovar_tensor::{Activation, Device, Epilogue, LayerNorm, Linear, Rows, Tensor, TokenLayout};

use super::attention::attention;
use super::cross_attention::{CrossAttentionConfig, ImageToTokens, TokensToImage};
use super::loader::Loader;
use super::mlp::Mlp;
use crate::error::Result;
use crate::limits::{MAX_CHANNELS, MAX_DEPTH, at_most, divides, positive};

/// Dimensions of a [`TwoWayTransformer`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TwoWayConfig {
    pub(crate) channels: usize,
    pub(crate) depth: usize,
    pub(crate) heads: usize,
    /// Channels inside the attention between tokens and image.
    pub(crate) cross_channels: usize,
    pub(crate) mlp_channels: usize,
    pub(crate) epsilon: f32,
    /// Of the norm behind the last attention: 1e-5 even where the others have 1e-6.
    pub(crate) final_epsilon: f32,
}

impl TwoWayConfig {
    pub(crate) fn check(&self) -> Result<()> {
        divides("mask decoder", self.channels, self.heads)?;
        divides("mask decoder: attention to the image", self.cross_channels, self.heads)?;
        at_most("mask decoder: depth", self.depth, MAX_DEPTH)?;
        at_most("mask decoder: mlp", self.mlp_channels, MAX_CHANNELS)?;
        positive("mask decoder: layer norm epsilon", self.epsilon)?;
        positive("mask decoder: last layer norm epsilon", self.final_epsilon)
    }

    fn cross_attention(&self) -> CrossAttentionConfig {
        CrossAttentionConfig {
            channels: self.channels,
            inner_channels: self.cross_channels,
            heads: self.heads,
        }
    }
}

pub(crate) struct TwoWayTransformer {
    layers: Vec<Layer>,
    final_attention: TokensToImage,
    final_norm: LayerNorm,
    /// `[1, image tokens, channels]`, of the image.
    positions: Tensor,
}

impl TwoWayTransformer {
    /// `positions: [1, image tokens, channels]` are those of the image.
    pub(crate) fn load(loader: &Loader, config: &TwoWayConfig, positions: &Tensor) -> Result<Self> {
        let layers = (0..config.depth).map(|i| Layer::load(&loader.at(format!("layers.{i}")), config));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            final_attention: TokensToImage::load(
                &loader.at("final_attn_token_to_image"),
                config.cross_attention(),
            )?,
            final_norm: loader.layer_norm("layer_norm_final_attn", config.channels, config.final_epsilon)?,
            positions: positions.clone(),
        })
    }

    /// `tokens: [P, T, C]`, `image: [P or 1, h·w, C]`; both as the transformer leaves them, for all `P` prompts.
    pub(crate) fn forward(
        &self,
        device: &Device,
        tokens: &Tensor,
        image: Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let mut queries = tokens.clone();
        let mut image = image;
        for (i, layer) in self.layers.iter().enumerate() {
            // The first layer has nothing but positions in its tokens yet, so it does not add them again.
            let add_positions = i > 0;
            (queries, image) =
                layer.forward(device, queries, image, tokens, &self.positions, add_positions)?;
        }
        let placed = device.add(&queries, tokens)?;
        let queries = self.final_attention.forward(device, &placed, &queries, &image, &self.positions)?;
        Ok((device.layer_norm(&queries, &self.final_norm, Activation::Identity)?, image))
    }
}

struct Layer {
    /// Queries and keys of the self-attention side by side; values apart, because they see no positions.
    self_query_key: Linear,
    self_value: Linear,
    self_out: Linear,
    heads: usize,
    layer_norm1: LayerNorm,
    to_image: TokensToImage,
    layer_norm2: LayerNorm,
    mlp: Mlp,
    layer_norm3: LayerNorm,
    to_tokens: ImageToTokens,
}

impl Layer {
    fn load(loader: &Loader, config: &TwoWayConfig) -> Result<Self> {
        let TwoWayConfig { channels, heads, mlp_channels, epsilon, .. } = *config;
        let own = loader.at("self_attn");
        let cross = config.cross_attention();
        let norm4 = loader.layer_norm("layer_norm4", channels, epsilon)?;
        Ok(Self {
            self_query_key: own.stacked_linear(&["q_proj", "k_proj"], channels, channels)?,
            self_value: own.linear("v_proj", channels, channels)?,
            self_out: own.linear("out_proj", channels, channels)?,
            heads,
            layer_norm1: loader.layer_norm("layer_norm1", channels, epsilon)?,
            to_image: TokensToImage::load(&loader.at("cross_attn_token_to_image"), cross)?,
            layer_norm2: loader.layer_norm("layer_norm2", channels, epsilon)?,
            mlp: Mlp::load(&loader.at("mlp"), ["lin1", "lin2"], channels, mlp_channels, Activation::Relu)?,
            layer_norm3: loader.layer_norm("layer_norm3", channels, epsilon)?,
            to_tokens: ImageToTokens::load(&loader.at("cross_attn_image_to_token"), cross, norm4)?,
        })
    }

    fn forward(
        &self,
        device: &Device,
        queries: Tensor,
        image: Tensor,
        tokens: &Tensor,
        positions: &Tensor,
        add_positions: bool,
    ) -> Result<(Tensor, Tensor)> {
        let norm = |x: &Tensor, norm: &LayerNorm| device.layer_norm(x, norm, Activation::Identity);
        let attended = self.attend_tokens(device, &queries, tokens, add_positions)?;
        // Without positions upstream also drops the residual.
        let residual = if add_positions { Epilogue::add(&queries) } else { Epilogue::NONE };
        let queries = norm(&device.linear(&attended, &self.self_out, &residual)?, &self.layer_norm1)?;
        let placed = device.add(&queries, tokens)?;
        let queries = self.to_image.forward(device, &placed, &queries, &image, positions)?;
        let queries = norm(&queries, &self.layer_norm2)?;
        let queries = norm(&self.mlp.forward(device, queries.clone(), &queries)?, &self.layer_norm3)?;
        let placed = device.add(&queries, tokens)?;
        let image = self.to_tokens.forward(device, &placed, &queries, image, positions)?;
        Ok((queries, image))
    }

    /// Tokens among themselves.
    fn attend_tokens(
        &self,
        device: &Device,
        queries: &Tensor,
        tokens: &Tensor,
        add_positions: bool,
    ) -> Result<Tensor> {
        let [batch, count, channels] = queries.shape().fixed("attention")?;
        let with_positions = if add_positions { device.add(queries, tokens)? } else { queries.clone() };
        let query_key = device.linear(&with_positions, &self.self_query_key, &Epilogue::NONE)?;
        let value = device.linear(queries, &self.self_value, &Epilogue::NONE)?;
        let (q, k) = (Rows::columns(&query_key, 0), Rows::columns(&query_key, channels));
        let layout = TokenLayout::Sequence { batch, key_batch: batch, queries: count, keys: count };
        attention(device, self.heads, channels, q, k, Rows::whole(&value), layout)
    }
}
