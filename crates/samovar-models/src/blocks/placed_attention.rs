//! Self-attention of DETR and what comes from it: positions are added to queries and keys, and not to values.

use samovar_tensor::{Device, Epilogue, Linear, Rows, Tensor, TokenLayout};

use super::attention::attention;
use super::loader::Loader;
use crate::error::Result;

pub(crate) struct PlacedAttention {
    /// Queries and keys side by side.
    query_key: Linear,
    value: Linear,
    out: Linear,
    heads: usize,
    channels: usize,
}

impl PlacedAttention {
    /// `q_proj`, `k_proj` and `v_proj`, or one `in_proj` as `torch.nn.MultiheadAttention` has it; `out_proj`.
    pub(crate) fn load(loader: &Loader, channels: usize, heads: usize) -> Result<Self> {
        let (query_key, value) = match loader.contains("q_proj.weight") {
            true => (
                loader.stacked_linear(&["q_proj", "k_proj"], channels, channels)?,
                loader.linear("v_proj", channels, channels)?,
            ),
            false => {
                let _copies = loader.copies(4, 3 * channels * channels)?;
                let weight = loader.weight("in_proj_weight", &[3 * channels, channels])?;
                let bias = loader.raw("in_proj_bias", &[3 * channels])?;
                let part = |start: usize, len: usize| {
                    let (weight, bias) = (weight.narrow(start, len)?, bias.narrow(start, len)?);
                    loader.device.load_linear(&weight, Some(&bias))
                };
                (part(0, 2 * channels)?, part(2 * channels, channels)?)
            }
        };
        Ok(Self { query_key, value, out: loader.linear("out_proj", channels, channels)?, heads, channels })
    }

    /// `x + attention` of tokens `x: [B, N, C]` at `positions`, `[B or 1, N, C]`.
    pub(crate) fn forward(&self, device: &Device, x: &Tensor, positions: &Tensor) -> Result<Tensor> {
        let [batch, tokens, _] = x.shape().fixed("self-attention")?;
        let placed = device.add(x, positions)?;
        let query_key = device.linear(&placed, &self.query_key, &Epilogue::NONE)?;
        drop(placed);
        let value = device.linear(x, &self.value, &Epilogue::NONE)?;
        let layout = TokenLayout::Sequence { batch, key_batch: batch, queries: tokens, keys: tokens };
        let (q, k) = (Rows::columns(&query_key, 0), Rows::columns(&query_key, self.channels));
        let attended = attention(device, self.heads, self.channels, q, k, Rows::whole(&value), layout)?;
        drop((query_key, value));
        // The result has the shape of the queries' tensor but for its columns.
        Ok(device.linear(&attended, &self.out, &Epilogue::add(x))?)
    }
}
