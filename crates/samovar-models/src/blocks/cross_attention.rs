//! Attention between the few tokens of a prompt and the many of an image.
//!
//! Upstream projects every image token to keys, values or queries, and the answers back. The same result is to be had
//! with all projections on the side of the few tokens: per head, `q·(W_k x) = (W_kᵀ q)·x` and
//! `W_o Σ a W_v x = (W_o W_v) Σ a x`, where the middle matrix of rank `channels / heads` is multiplied out once, when
//! the model is loaded. A constant in the keys does not matter to a softmax, and one in the values comes out as it is.
//!
//! Which way is faster depends on the number of tokens, on how many prompts share the image, and on the backend, which is
//! asked.

use samovar_tensor::{
    Activation, Attention, AttentionBias, CrossAttention, CrossAttentionDirection, CrossAttentionRoute,
    Device, Epilogue, FoldedAttention, LayerNorm, Linear, Precision, Rows, SetAside, Tensor, TokenLayout,
};

use super::attention::attention;
use super::loader::Loader;
use crate::error::Result;

/// Dimensions of [`TokensToImage`] and [`ImageToTokens`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CrossAttentionConfig {
    pub(crate) channels: usize,
    /// Channels inside the attention.
    pub(crate) inner_channels: usize,
    pub(crate) heads: usize,
}

impl CrossAttentionConfig {
    /// Of the logits.
    fn scale(&self) -> f32 {
        1.0 / ((self.inner_channels / self.heads) as f32).sqrt()
    }

    /// The attention's sizes for `few: [P, T, C]` and `image: [P or 1, N, C]`.
    fn sizes(
        &self,
        direction: CrossAttentionDirection,
        few: &Tensor,
        image: &Tensor,
        precision: Precision,
    ) -> Result<CrossAttention> {
        let CrossAttentionConfig { channels, inner_channels, heads } = *self;
        let [prompts, tokens, _] = few.shape().fixed("attention")?;
        let [images, image_tokens, _] = image.shape().fixed("attention")?;
        Ok(CrossAttention {
            direction,
            prompts,
            tokens,
            images,
            image_tokens,
            channels,
            inner_channels,
            heads,
            precision,
        })
    }
}

/// Tokens attend to the image.
pub(crate) struct TokensToImage {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    folded_query: Linear,
    folded_out: Linear,
    config: CrossAttentionConfig,
}

impl TokensToImage {
    pub(crate) fn load(loader: &Loader, config: CrossAttentionConfig) -> Result<Self> {
        let CrossAttentionConfig { channels, inner_channels: cross, heads } = config;
        let raw = Projections::new(loader, config)?;
        Ok(Self {
            query: loader.linear("q_proj", channels, cross)?,
            key: loader.linear("k_proj", channels, cross)?,
            value: loader.linear("v_proj", channels, cross)?,
            out: loader.linear("out_proj", cross, channels)?,
            folded_query: Folded::load(loader, channels, heads * channels, || raw.folded_query())?,
            folded_out: Folded::load(loader, heads * channels, channels, || raw.folded_out())?,
            config,
        })
    }

    /// `queries: [P, T, C]` with their positions, `image: [P or 1, N, C]`; the answer added to `residual: [P, T, C]`.
    pub(crate) fn forward(
        &self,
        device: &Device,
        queries: &Tensor,
        residual: &Tensor,
        image: &Tensor,
        positions: &Tensor,
    ) -> Result<Tensor> {
        let direction = CrossAttentionDirection::TokensToImage;
        let sizes = self.config.sizes(direction, queries, image, self.key.precision())?;
        match device.cross_attention_route(&sizes) {
            CrossAttentionRoute::Projected => self.projected(device, queries, residual, image, positions),
            CrossAttentionRoute::Folded => self.folded(device, queries, residual, image, positions),
        }
    }

    fn projected(
        &self,
        device: &Device,
        queries: &Tensor,
        residual: &Tensor,
        image: &Tensor,
        positions: &Tensor,
    ) -> Result<Tensor> {
        let CrossAttentionConfig { inner_channels: cross, heads, .. } = self.config;
        let [batch, tokens, _] = queries.shape().fixed("attention")?;
        let [key_batch, keys, _] = image.shape().fixed("attention")?;
        let query = device.linear(queries, &self.query, &Epilogue::NONE)?;
        let key = device.linear(&device.add(image, positions)?, &self.key, &Epilogue::NONE)?;
        let value = device.linear(image, &self.value, &Epilogue::NONE)?;
        let layout = TokenLayout::Sequence { batch, key_batch, queries: tokens, keys };
        let (q, k, v) = (Rows::whole(&query), Rows::whole(&key), Rows::whole(&value));
        let attended = attention(device, heads, cross, q, k, v, layout)?;
        Ok(device.linear(&attended, &self.out, &Epilogue::add(residual))?)
    }

    fn folded(
        &self,
        device: &Device,
        queries: &Tensor,
        residual: &Tensor,
        image: &Tensor,
        positions: &Tensor,
    ) -> Result<Tensor> {
        let CrossAttentionConfig { channels, heads, .. } = self.config;
        let [batch, tokens, _] = queries.shape().fixed("attention")?;
        let [key_batch, keys, _] = image.shape().fixed("attention")?;
        // Every head of every token is a query of its own.
        let query = device.linear(queries, &self.folded_query, &Epilogue::NONE)?;
        let query = query.reshape([batch, tokens * heads, channels])?;
        let attended = device.attention(&Attention {
            q: Rows::whole(&query),
            k: Rows::whole(image),
            v: Rows::whole(image),
            heads: 1,
            head_channels: channels,
            value_channels: channels,
            scale: self.config.scale(),
            layout: TokenLayout::Sequence { batch, key_batch, queries: tokens * heads, keys },
            bias: AttentionBias::KeyPositions(&positions.reshape([keys, channels])?),
            precision: self.folded_query.precision(),
        })?;
        let attended = attended.reshape([batch, tokens, heads * channels])?;
        Ok(device.linear(&attended, &self.folded_out, &Epilogue::add(residual))?)
    }
}

/// The image attends to the tokens, and what follows: residual and norm.
pub(crate) struct ImageToTokens {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    folded_key: Linear,
    folded_value: Linear,
    norm: LayerNorm,
    config: CrossAttentionConfig,
}

impl ImageToTokens {
    pub(crate) fn load(loader: &Loader, config: CrossAttentionConfig, norm: LayerNorm) -> Result<Self> {
        let CrossAttentionConfig { channels, inner_channels: cross, heads } = config;
        let raw = Projections::new(loader, config)?;
        Ok(Self {
            query: loader.linear("q_proj", channels, cross)?,
            key: loader.linear("k_proj", channels, cross)?,
            value: loader.linear("v_proj", channels, cross)?,
            out: loader.linear("out_proj", cross, channels)?,
            folded_key: Folded::load(loader, channels, heads * (channels + 1), || raw.folded_key())?,
            folded_value: Folded::load(loader, channels, heads * channels, || raw.folded_value())?,
            norm,
            config,
        })
    }

    /// `keys: [P, T, C]` with positions, `values: [P, T, C]` without, `image: [P or 1, N, C]`, to the next `[P, N, C]`.
    pub(crate) fn forward(
        &self,
        device: &Device,
        keys: &Tensor,
        values: &Tensor,
        image: Tensor,
        positions: &Tensor,
    ) -> Result<Tensor> {
        let direction = CrossAttentionDirection::ImageToTokens;
        let sizes = self.config.sizes(direction, keys, &image, self.query.precision())?;
        match device.cross_attention_route(&sizes) {
            CrossAttentionRoute::Projected => self.projected(device, keys, values, image, positions),
            CrossAttentionRoute::Folded => self.folded(device, keys, values, &image, positions),
        }
    }

    fn folded(
        &self,
        device: &Device,
        keys: &Tensor,
        values: &Tensor,
        image: &Tensor,
        positions: &Tensor,
    ) -> Result<Tensor> {
        Ok(device.folded_attention(&FoldedAttention {
            x: image,
            positions,
            keys: &device.linear(keys, &self.folded_key, &Epilogue::NONE)?,
            values: &device.linear(values, &self.folded_value, &Epilogue::NONE)?,
            heads: self.config.heads,
            norm: &self.norm,
        })?)
    }

    fn projected(
        &self,
        device: &Device,
        keys: &Tensor,
        values: &Tensor,
        image: Tensor,
        positions: &Tensor,
    ) -> Result<Tensor> {
        let CrossAttentionConfig { inner_channels: cross, heads, .. } = self.config;
        let [batch, tokens, _] = keys.shape().fixed("attention")?;
        let [image_batch, image_tokens, _] = image.shape().fixed("attention")?;
        let mut query = device.linear(&device.add(&image, positions)?, &self.query, &Epilogue::NONE)?;
        if image_batch < batch {
            // One image for all prompts, but every prompt gets its own answer.
            query = device.concat(&vec![&query; batch], 0)?;
        }
        let key = device.linear(keys, &self.key, &Epilogue::NONE)?;
        let value = device.linear(values, &self.value, &Epilogue::NONE)?;
        let layout = TokenLayout::Sequence { batch, key_batch: batch, queries: image_tokens, keys: tokens };
        let (q, k, v) = (Rows::whole(&query), Rows::whole(&key), Rows::whole(&value));
        let attended = attention(device, heads, cross, q, k, v, layout)?;
        drop(query);
        let sum = device.linear(&attended, &self.out, &Epilogue::add(&image))?;
        drop((attended, image));
        Ok(device.layer_norm(&sum, &self.norm, Activation::Identity)?)
    }
}

/// The four layers of an attention as the file has them.
struct Projections {
    query: Projection,
    key: Projection,
    value: Projection,
    out: Projection,
    config: CrossAttentionConfig,
    /// Of the weights, rounded and widened.
    _copies: Option<SetAside>,
}

/// A layer as the file has it: `[outputs, inputs]` and `[outputs]`.
struct Projection {
    weight: Tensor,
    bias: Tensor,
}

/// A matrix `[outputs, inputs]` made of two, and its bias.
#[derive(Default)]
struct Folded {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Projections {
    fn new(loader: &Loader, config: CrossAttentionConfig) -> Result<Self> {
        let CrossAttentionConfig { channels, inner_channels: cross, .. } = config;
        let _copies = loader.copies(3 * 4, channels * cross)?;
        let layer = |name: &str, inputs: usize, outputs: usize| -> Result<Projection> {
            let layer = loader.at(name);
            let weight = layer.weight("weight", &[outputs, inputs])?;
            Ok(Projection { weight, bias: layer.raw("bias", &[outputs])? })
        };
        Ok(Self {
            query: layer("q_proj", channels, cross)?,
            key: layer("k_proj", channels, cross)?,
            value: layer("v_proj", channels, cross)?,
            out: layer("out_proj", cross, channels)?,
            config,
            _copies,
        })
    }

    /// `heads` blocks of `outer` rows: in block `h` row `o` is `Σ_d left[o, d] right[d]` over the channels `d` of head
    /// `h`, where `left` has `cross` columns.
    fn fold(&self, left: &[f32], right: &Projection) -> Result<Folded> {
        let CrossAttentionConfig { channels, inner_channels: cross, heads } = self.config;
        let (weight, bias) = (right.weight.to_f32_vec()?, right.bias.to_f32_vec()?);
        let rows = heads * (left.len() / cross.max(1));
        let mut folded =
            Folded { weight: Vec::with_capacity(rows * channels), bias: Vec::with_capacity(rows) };
        for head in 0..heads {
            let of_head = head * cross / heads..(head + 1) * cross / heads;
            for left in left.chunks_exact(cross) {
                let start = folded.weight.len();
                folded.weight.resize(start + channels, 0.0);
                let mut constant = 0.0;
                for d in of_head.clone() {
                    let row = &weight[d * channels..][..channels];
                    folded.weight[start..].iter_mut().zip(row).for_each(|(sum, w)| *sum += left[d] * w);
                    constant += left[d] * bias[d];
                }
                folded.bias.push(constant);
            }
        }
        Ok(folded)
    }

    /// `W_kᵀ W_q`, for every head.
    fn folded_query(&self) -> Result<Folded> {
        self.fold(&self.transposed(&self.key.weight.to_f32_vec()?), &self.query)
    }

    /// `W_qᵀ W_k` for every head, then what the queries' bias makes of the key; both with the scale.
    fn folded_key(&self) -> Result<Folded> {
        let mut keys = self.fold(&self.transposed(&self.query.weight.to_f32_vec()?), &self.key)?;
        let constants = self.fold(&self.query.bias.to_f32_vec()?, &self.key)?;
        keys.weight.extend(constants.weight);
        keys.bias.extend(constants.bias);
        let scale = self.config.scale();
        keys.weight.iter_mut().chain(&mut keys.bias).for_each(|w| *w *= scale);
        Ok(keys)
    }

    /// `W_o W_v` for every head; the last bias goes with the first.
    fn folded_value(&self) -> Result<Folded> {
        let mut values = self.fold(&self.out.weight.to_f32_vec()?, &self.value)?;
        let bias = self.out.bias.to_f32_vec()?;
        values.bias.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
        Ok(values)
    }

    /// `W_o W_v` of all heads side by side.
    fn folded_out(&self) -> Result<Folded> {
        let CrossAttentionConfig { channels, heads, .. } = self.config;
        let values = self.folded_value()?;
        let mut weight = Vec::with_capacity(values.weight.len());
        for output in 0..channels {
            for head in 0..heads {
                weight.extend(&values.weight[(head * channels + output) * channels..][..channels]);
            }
        }
        let of_output = |output: usize| values.bias.iter().skip(output).step_by(channels).sum();
        Ok(Folded { weight, bias: (0..channels).map(of_output).collect() })
    }

    /// `[cross, channels]` the other way round.
    fn transposed(&self, weight: &[f32]) -> Vec<f32> {
        let CrossAttentionConfig { channels, .. } = self.config;
        (0..channels).flat_map(|c| weight.iter().skip(c).step_by(channels).copied()).collect()
    }
}

impl Folded {
    fn load(
        loader: &Loader,
        inputs: usize,
        outputs: usize,
        make: impl FnOnce() -> Result<Folded>,
    ) -> Result<Linear> {
        // As they are made, in the order they are wanted, and on the way to the device.
        let _copies = loader.copies(4, outputs * inputs)?;
        let folded = if loader.device.is_shape_only() { Folded::default() } else { make()? };
        let weight = loader.derived(&[outputs, inputs], || Ok(folded.weight))?;
        let bias = loader.derived(&[outputs], || Ok(folded.bias))?;
        Ok(loader.device.load_linear(&weight, Some(&bias))?)
    }
}

#[cfg(test)]
#[path = "cross_attention_tests.rs"]
mod tests;
