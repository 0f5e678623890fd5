//! Attention as the decoder's layers use it: exact, without a bias.

use samovar_tensor::{Attention, AttentionBias, Device, Precision, Rows, Tensor, TokenLayout};

use crate::error::Result;

/// Attention without a bias between `channels` of queries, keys and values.
pub(crate) fn attention(
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
        precision: Precision::F32,
    })?)
}
