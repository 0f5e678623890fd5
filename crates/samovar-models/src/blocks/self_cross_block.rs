//! A pre-norm transformer layer in which the tokens of an image attend to each other, then to what is remembered; both with rotary
//! positions and one head.
//!
//! Memories are narrower than the image. Values see no positions, so the layer that makes values of memories, and the one that
//! reads what was attended to, are multiplied out when the model is loaded: `W_o (Σ a (W_v m + b_v)) + b_o` is
//! `(W_o W_v) Σ a m + (W_o b_v + b_o)`, as weights of a softmax have the sum 1. Attention then adds up the memories themselves. Nor are
//! keys made where memories are many: a key of a cell is a product of the memory with a matrix of its column and one of its row, see
//! [`AxialAttention`].

use samovar_tensor::{
    Activation, Attention, AttentionBias, AxialAttention, Device, Epilogue, LayerNorm, Linear, Precision,
    Rows, Tensor, TokenLayout,
};

use super::attention::attention;
use super::loader::Loader;
use super::mlp::Mlp;
use super::rotary::{self, pairs_apart};
use crate::error::Result;
use crate::tracker::Begun;

/// Dimensions of a [`SelfCrossBlock`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SelfCrossConfig {
    pub(crate) channels: usize,
    /// Channels of what is remembered.
    pub(crate) memory_channels: usize,
    pub(crate) mlp_channels: usize,
    pub(crate) epsilon: f32,
}

pub(crate) struct SelfCrossBlock {
    layer_norm1: LayerNorm,
    /// Queries, keys and values side by side.
    self_projection: Linear,
    self_out: Linear,
    layer_norm2: LayerNorm,
    query: Linear,
    /// Matrices of keys by column and by row.
    keys: [Tensor; 2],
    /// The same keys before they are turned, for few memories.
    key: Linear,
    /// `W_o W_v`.
    out: Linear,
    layer_norm3: LayerNorm,
    mlp: Mlp,
    config: SelfCrossConfig,
}

/// What is remembered, as tokens.
pub(crate) struct Remembered {
    /// `[tokens, memory channels]`: those of maps, map by map, then those that have no cell.
    pub(crate) values: Tensor,
    /// Those of maps with their positions, `[maps · cells, memory channels]`.
    pub(crate) placed: Tensor,
    /// Those without a cell with theirs, if there are any.
    pub(crate) placed_beside: Option<Tensor>,
}

impl SelfCrossBlock {
    /// For memories of `grid` rows and columns, with rotary positions of this base.
    pub(crate) fn load(
        loader: &Loader,
        config: SelfCrossConfig,
        grid: [usize; 2],
        theta: f32,
    ) -> Result<Self> {
        let SelfCrossConfig { channels, mlp_channels, epsilon, .. } = config;
        let (own, cross) = (loader.at("self_attn"), loader.at("cross_attn_image"));
        let norm = |name: &str| loader.layer_norm(name, channels, epsilon);
        Ok(Self {
            layer_norm1: norm("layer_norm1")?,
            self_projection: self_projection(&own, channels)?,
            self_out: own.linear("out_proj", channels, channels)?,
            layer_norm2: norm("layer_norm2")?,
            query: turned_linear(&cross.at("q_proj"), channels, channels)?,
            keys: keys_by_place(&cross.at("k_proj"), config, grid, theta)?,
            // As exact as the matrices: how many memories there are should not be seen.
            key: turned_linear(&cross.exact().at("k_proj"), config.memory_channels, channels)?,
            out: values_and_out(&cross, config)?,
            layer_norm3: norm("layer_norm3")?,
            mlp: Mlp::load(loader, ["linear1", "linear2"], channels, mlp_channels, Activation::Relu)?,
            config,
        })
    }

    /// The first half of the layer, which knows no memories: `x: [1, cells, channels]`, and the cells' turns.
    pub(crate) fn begin(&self, device: &Device, x: &Tensor, turns: &Tensor) -> Result<Begun> {
        let [batch, cells, channels] = x.shape().fixed("memory attention")?;
        let normed = device.layer_norm(x, &self.layer_norm1, Activation::Identity)?;
        let all = device.linear(&normed, &self.self_projection, &Epilogue::NONE)?;
        drop(normed);
        let query = device.rotate(Rows::whole(&all), turns)?;
        let key = device.rotate(Rows::columns(&all, channels), turns)?;
        let layout = TokenLayout::Sequence { batch, key_batch: batch, queries: cells, keys: cells };
        let (q, k, v) = (Rows::whole(&query), Rows::whole(&key), Rows::columns(&all, 2 * channels));
        let attended = attention(device, 1, channels, q, k, v, layout)?;
        drop((query, key, all));
        let tokens = device.linear(&attended, &self.self_out, &Epilogue::add(x))?;
        drop(attended);
        let normed = device.layer_norm(&tokens, &self.layer_norm2, Activation::Identity)?;
        let query = device.linear(&normed, &self.query, &Epilogue::NONE)?;
        let query = device.rotate(Rows::whole(&query), turns)?;
        Ok(Begun { tokens, query })
    }

    /// The second half: what the memories answer, and the rest of the layer; `turns` are those of the memories' cells.
    pub(crate) fn finish(
        &self,
        device: &Device,
        begun: &Begun,
        memories: &Remembered,
        turns: &Tensor,
    ) -> Result<Tensor> {
        let Begun { tokens, query } = begun;
        let [columns, rows] = &self.keys;
        let by_place = AxialAttention {
            q: query,
            keys: &memories.placed,
            beside: memories.placed_beside.as_ref(),
            values: &memories.values,
            columns,
            rows,
            scale: 1.0 / (self.config.channels as f32).sqrt(),
        };
        let attended = match device.axial_attention_pays(&by_place)? {
            true => device.axial_attention(&by_place)?,
            false => self.attend_to_keys(device, query, memories, turns)?,
        };
        let x = device.linear(&attended, &self.out, &Epilogue::add(tokens))?;
        drop(attended);
        let normed = device.layer_norm(&x, &self.layer_norm3, Activation::Identity)?;
        self.mlp.forward(device, normed, &x)
    }

    /// What the memories answer, with keys that are made first.
    fn attend_to_keys(
        &self,
        device: &Device,
        query: &Tensor,
        memories: &Remembered,
        turns: &Tensor,
    ) -> Result<Tensor> {
        let SelfCrossConfig { channels, memory_channels, .. } = self.config;
        let [batch, cells, _] = query.shape().fixed("memory attention")?;
        let key = device.linear(&memories.placed, &self.key, &Epilogue::NONE)?;
        let mut key = device.rotate(Rows::whole(&key), turns)?;
        if let Some(beside) = &memories.placed_beside {
            let beside = device.linear(beside, &self.key, &Epilogue::NONE)?;
            key = device.concat(&[&key, &beside], 0)?;
        }
        let attended = device.attention(&Attention {
            q: Rows::whole(query),
            k: Rows::whole(&key),
            v: Rows::whole(&memories.values),
            heads: 1,
            head_channels: channels,
            value_channels: memory_channels,
            scale: 1.0 / (channels as f32).sqrt(),
            layout: TokenLayout::Sequence { batch, key_batch: 1, queries: cells, keys: key.shape().rows() },
            bias: AttentionBias::None,
            precision: Precision::F32,
        })?;
        Ok(attended.reshape([batch, cells, memory_channels])?)
    }
}

/// The layer of queries, keys and values, the first two with their pairs apart.
fn self_projection(loader: &Loader, channels: usize) -> Result<Linear> {
    // Each rounded, two in another order, all widened again, and stacked.
    let _copies = loader.copies(7, channels * channels)?;
    let (mut weights, mut biases) = (Vec::new(), Vec::new());
    for (name, is_turned) in [("q_proj", true), ("k_proj", true), ("v_proj", false)] {
        let layer = loader.at(name);
        let weight = layer.weight("weight", &[channels, channels])?;
        let bias = layer.raw("bias", &[channels])?;
        weights.push(if is_turned { pairs_apart(&weight)? } else { weight });
        biases.push(if is_turned { pairs_apart(&bias)? } else { bias });
    }
    let (weight, bias) = (Tensor::stack_rows(&weights)?, Tensor::stack_rows(&biases)?);
    Ok(loader.device.load_linear(&weight, Some(&bias))?)
}

/// A layer whose outputs are turned.
fn turned_linear(layer: &Loader, inputs: usize, outputs: usize) -> Result<Linear> {
    let _copies = layer.copies(3, inputs * outputs)?;
    let weight = pairs_apart(&layer.weight("weight", &[outputs, inputs])?)?;
    let bias = pairs_apart(&layer.raw("bias", &[outputs])?)?;
    Ok(layer.device.load_linear(&weight, Some(&bias))?)
}

/// Matrices of keys by column and by row.
fn keys_by_place(
    layer: &Loader,
    config: SelfCrossConfig,
    [rows, columns]: [usize; 2],
    theta: f32,
) -> Result<[Tensor; 2]> {
    let SelfCrossConfig { channels, memory_channels: inputs, .. } = config;
    let _copies = layer.copies(2, inputs * channels)?;
    let weight = layer.weight("weight", &[channels, inputs])?;
    let bias = layer.raw("bias", &[channels])?;
    let along = |axis: usize, places: usize| -> Result<Tensor> {
        let _made = layer.copies(1, places * (inputs + 1) * channels / 2)?;
        let matrices = layer.derived(&[places, inputs + 1, channels / 2], || {
            let (weight, bias) = (weight.to_f32_vec()?, bias.to_f32_vec()?);
            Ok(rotary::turned_along(axis, places, [&weight, &bias], inputs, theta))
        })?;
        Ok(layer.device.load(&matrices)?)
    };
    Ok([along(0, columns)?, along(1, rows)?])
}

/// `W_o W_v` and `W_o b_v + b_o`.
fn values_and_out(loader: &Loader, config: SelfCrossConfig) -> Result<Linear> {
    let SelfCrossConfig { channels, memory_channels, .. } = config;
    let _copies = loader.copies(6, channels * channels)?;
    let (value, out) = (loader.at("v_proj"), loader.at("out_proj"));
    let value_weight = value.weight("weight", &[channels, memory_channels])?;
    let value_bias = value.raw("bias", &[channels])?;
    let out_weight = out.weight("weight", &[channels, channels])?;
    let out_bias = out.raw("bias", &[channels])?;
    let weight = loader.derived(&[channels, memory_channels], || {
        let (left, right) = (out_weight.to_f32_vec()?, value_weight.to_f32_vec()?);
        let mut product = Vec::with_capacity(channels * memory_channels);
        for left in left.chunks_exact(channels) {
            let mut sums = vec![0f64; memory_channels];
            for (&factor, row) in left.iter().zip(right.chunks_exact(memory_channels)) {
                sums.iter_mut().zip(row).for_each(|(sum, &w)| *sum += f64::from(factor) * f64::from(w));
            }
            product.extend(sums.iter().map(|&sum| sum as f32));
        }
        Ok(product)
    })?;
    let bias = loader.derived(&[channels], || {
        let (left, values, bias) =
            (out_weight.to_f32_vec()?, value_bias.to_f32_vec()?, out_bias.to_f32_vec()?);
        let sum = |(row, &bias): (&[f32], &f32)| {
            let products = row.iter().zip(&values).map(|(&w, &b)| f64::from(w) * f64::from(b));
            (products.sum::<f64>() + f64::from(bias)) as f32
        };
        Ok(left.chunks_exact(channels).zip(&bias).map(sum).collect())
    })?;
    Ok(loader.device.load_linear(&weight, Some(&bias))?)
}
