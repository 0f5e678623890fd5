//! The two-way transformer: prompt tokens and image tokens attend to each other.
//!
//! Two exact savings over the way upstream writes it:
//! - Keys and queries from the image are projections of `image + positions`. The projected positions are the same for
//!   every prompt, so they are computed once when the model is loaded and added to the projected image.
//! - All prompts on an image start from the same image tokens, so the first layer projects them once.

use samovar_tensor::{
    Activation, Attention, AttentionBias, Device, Epilogue, LayerNorm, Linear, Rows, Tensor, TokenLayout,
};

use super::loader::Loader;
use super::mlp::Mlp;
use crate::Result;

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

pub(crate) struct TwoWayTransformer {
    layers: Vec<Layer>,
    final_query: Linear,
    final_image: ImageProjection,
    final_out: Linear,
    final_norm: LayerNorm,
    config: TwoWayConfig,
}

impl TwoWayTransformer {
    /// `positions: [1, image tokens, channels]` are those of the image.
    pub(crate) fn load(loader: &Loader, config: &TwoWayConfig, positions: &Tensor) -> Result<Self> {
        let TwoWayConfig { channels, cross_channels, .. } = *config;
        let layers =
            (0..config.depth).map(|i| Layer::load(&loader.at(format!("layers.{i}")), config, positions));
        let last = loader.at("final_attn_token_to_image");
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            final_query: last.linear("q_proj", channels, cross_channels)?,
            final_image: ImageProjection::load(&last, &["k_proj", "v_proj"], config, positions)?,
            final_out: last.linear("out_proj", cross_channels, channels)?,
            final_norm: loader.layer_norm("layer_norm_final_attn", channels, config.final_epsilon)?,
            config: config.clone(),
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
            (queries, image) = layer.forward(device, &self.config, queries, image, tokens, add_positions)?;
        }
        let projected = self.final_image.forward(device, &image)?;
        let query = device.linear(&device.add(&queries, tokens)?, &self.final_query, &Epilogue::NONE)?;
        let attended = cross_attention(device, &self.config, &query, &projected)?;
        let queries = device.linear(&attended, &self.final_out, &Epilogue::add(&queries))?;
        Ok((device.layer_norm(&queries, &self.final_norm, Activation::Identity)?, image))
    }
}

struct Layer {
    /// Queries and keys of the self-attention side by side; values apart, because they see no positions.
    self_query_key: Linear,
    self_value: Linear,
    self_out: Linear,
    layer_norm1: LayerNorm,
    token_query: Linear,
    /// Keys and values for the tokens, queries of the image.
    image: ImageProjection,
    token_out: Linear,
    layer_norm2: LayerNorm,
    mlp: Mlp,
    layer_norm3: LayerNorm,
    image_key: Linear,
    image_value: Linear,
    image_out: Linear,
    layer_norm4: LayerNorm,
}

impl Layer {
    fn load(loader: &Loader, config: &TwoWayConfig, positions: &Tensor) -> Result<Self> {
        let TwoWayConfig { channels, cross_channels: cross, mlp_channels, epsilon, .. } = *config;
        let own = loader.at("self_attn");
        let to_image = loader.at("cross_attn_token_to_image");
        let to_token = loader.at("cross_attn_image_to_token");
        let projections = [
            "cross_attn_token_to_image.k_proj",
            "cross_attn_token_to_image.v_proj",
            "cross_attn_image_to_token.q_proj",
        ];
        Ok(Self {
            self_query_key: own.stacked_linear(&["q_proj", "k_proj"], channels, channels)?,
            self_value: own.linear("v_proj", channels, channels)?,
            self_out: own.linear("out_proj", channels, channels)?,
            layer_norm1: loader.layer_norm("layer_norm1", channels, epsilon)?,
            token_query: to_image.linear("q_proj", channels, cross)?,
            image: ImageProjection::load(loader, &projections, config, positions)?,
            token_out: to_image.linear("out_proj", cross, channels)?,
            layer_norm2: loader.layer_norm("layer_norm2", channels, epsilon)?,
            mlp: Mlp::load(&loader.at("mlp"), ["lin1", "lin2"], channels, mlp_channels, Activation::Relu)?,
            layer_norm3: loader.layer_norm("layer_norm3", channels, epsilon)?,
            image_key: to_token.linear("k_proj", channels, cross)?,
            image_value: to_token.linear("v_proj", channels, cross)?,
            image_out: to_token.linear("out_proj", cross, channels)?,
            layer_norm4: loader.layer_norm("layer_norm4", channels, epsilon)?,
        })
    }

    fn forward(
        &self,
        device: &Device,
        config: &TwoWayConfig,
        queries: Tensor,
        mut image: Tensor,
        tokens: &Tensor,
        add_positions: bool,
    ) -> Result<(Tensor, Tensor)> {
        let norm = |x: &Tensor, norm: &LayerNorm| device.layer_norm(x, norm, Activation::Identity);

        // Tokens among themselves.
        let attended = self.attend_tokens(device, config, &queries, tokens, add_positions)?;
        // Without positions upstream also drops the residual.
        let residual = if add_positions { Epilogue::add(&queries) } else { Epilogue::NONE };
        let queries = norm(&device.linear(&attended, &self.self_out, &residual)?, &self.layer_norm1)?;

        // Tokens to image.
        let projected = self.image.forward(device, &image)?;
        let query = device.linear(&device.add(&queries, tokens)?, &self.token_query, &Epilogue::NONE)?;
        let attended = cross_attention(device, config, &query, &projected)?;
        let queries =
            norm(&device.linear(&attended, &self.token_out, &Epilogue::add(&queries))?, &self.layer_norm2)?;

        let queries = norm(&self.mlp.forward(device, queries.clone(), &queries)?, &self.layer_norm3)?;

        // Image to tokens.
        let key = device.linear(&device.add(&queries, tokens)?, &self.image_key, &Epilogue::NONE)?;
        let value = device.linear(&queries, &self.image_value, &Epilogue::NONE)?;
        let attended = self.attend_image(device, config, projected, &key, &value)?;
        image = device.linear(&attended, &self.image_out, &Epilogue::add(&image))?;
        drop(attended);
        image = norm(&image, &self.layer_norm4)?;
        Ok((queries, image))
    }

    fn attend_tokens(
        &self,
        device: &Device,
        config: &TwoWayConfig,
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
        attention(device, config.heads, channels, q, k, Rows::whole(&value), layout)
    }

    /// The image's queries are the third part of its projection.
    fn attend_image(
        &self,
        device: &Device,
        config: &TwoWayConfig,
        projected: Tensor,
        key: &Tensor,
        value: &Tensor,
    ) -> Result<Tensor> {
        let cross = config.cross_channels;
        let [image_batch, image_tokens, _] = projected.shape().fixed("attention")?;
        let [batch, count, _] = key.shape().fixed("attention")?;
        let layout = TokenLayout::Sequence { batch, key_batch: batch, queries: image_tokens, keys: count };
        let (k, v) = (Rows::whole(key), Rows::whole(value));
        if image_batch == batch {
            return attention(
                device,
                config.heads,
                cross,
                Rows::columns(&projected, 2 * cross),
                k,
                v,
                layout,
            );
        }
        // One image for all prompts, but every prompt gets its own answer: repeat the queries.
        let query = device.slice(&projected, 2, 2 * cross, cross)?;
        drop(projected);
        let repeated = device.concat(&vec![&query; batch], 0)?;
        attention(device, config.heads, cross, Rows::whole(&repeated), k, v, layout)
    }
}

/// Projections of the image tokens side by side: a key, a value, and in the layers also a query. All but the value see
/// the image's positions.
struct ImageProjection {
    layer: Linear,
    /// `[1, image tokens, columns]`: the projected positions, without bias; zero in the columns of the value.
    positions: Tensor,
}

impl ImageProjection {
    fn load(loader: &Loader, names: &[&str], config: &TwoWayConfig, positions: &Tensor) -> Result<Self> {
        let TwoWayConfig { channels, cross_channels: cross, .. } = *config;
        let layer = loader.stacked_linear(names, channels, cross)?;
        let device = loader.device.stage("load");
        let mut parts = Vec::new();
        for name in names {
            let part = if name.ends_with("v_proj") {
                device.tensor([1, positions.dims()[1], cross], |values| values.fill(0.0))?
            } else {
                let weight = loader.raw(&format!("{name}.weight"), &[cross, channels])?;
                device.linear(positions, &device.load_linear(&weight, None)?, &Epilogue::NONE)?
            };
            parts.push(part);
        }
        let positions = device.concat(&parts.iter().collect::<Vec<_>>(), 2)?;
        Ok(Self { layer, positions })
    }

    fn forward(&self, device: &Device, image: &Tensor) -> Result<Tensor> {
        Ok(device.linear(image, &self.layer, &Epilogue::add(&self.positions))?)
    }
}

/// Tokens attend to the image, whose keys and values are the first two parts of its projection.
fn cross_attention(
    device: &Device,
    config: &TwoWayConfig,
    query: &Tensor,
    projected: &Tensor,
) -> Result<Tensor> {
    let cross = config.cross_channels;
    let [batch, queries, _] = query.shape().fixed("attention")?;
    let [key_batch, keys, _] = projected.shape().fixed("attention")?;
    let layout = TokenLayout::Sequence { batch, key_batch, queries, keys };
    let (k, v) = (Rows::columns(projected, 0), Rows::columns(projected, cross));
    attention(device, config.heads, cross, Rows::whole(query), k, v, layout)
}

fn attention(
    device: &Device,
    heads: usize,
    channels: usize,
    q: Rows,
    k: Rows,
    v: Rows,
    layout: TokenLayout,
) -> Result<Tensor> {
    let head_channels = channels / heads;
    Ok(device.attention(&Attention {
        q,
        k,
        v,
        heads,
        head_channels,
        value_channels: head_channels,
        scale: 1.0 / (head_channels as f32).sqrt(),
        layout,
        bias: AttentionBias::None,
    })?)
}
