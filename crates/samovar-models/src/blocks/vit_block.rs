//! The transformer layer of ViTDet and its relatives: windowed or global attention, with decomposed relative positions
//! (ViTDet) or pooled queries (Hiera) where they have them.

use samovar_tensor::{
    Activation, Attention, AttentionBias, Device, Epilogue, LayerNorm, Linear, Rows, Tensor, TokenLayout,
};

use super::loader::Loader;
use super::mlp::Mlp;
use crate::error::{Error, Result};

/// Tokens along a side that become one where a block pools.
pub(crate) const POOL: usize = 2;

/// Dimensions of a [`Block`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BlockConfig {
    pub(crate) channels: usize,
    pub(crate) heads: usize,
    pub(crate) mlp_channels: usize,
    pub(crate) epsilon: f32,
    pub(crate) qkv_bias: bool,
    /// Window side, or `None` when every token attends to every other.
    pub(crate) window: Option<usize>,
    /// Channels of the map it reads, where it halves that: queries, and what its result is added to, are the largest of 2 x 2
    /// tokens, and go from these channels to `channels`.
    pub(crate) pooled_from: Option<usize>,
    /// Side of the square of tokens that the relative positions speak of, where there are any.
    pub(crate) relative_side: Option<usize>,
}

/// A transformer layer: attention, then an MLP, each behind a norm and added to its input.
pub(crate) struct Block {
    layer_norm1: LayerNorm,
    /// What the result is added to, of the normed map, where that is pooled.
    shortcut: Option<Linear>,
    qkv: Linear,
    /// What `qkv` makes of a padding token, which is zero *after* the norm: its bias.
    padding: Option<Tensor>,
    relative: Option<[Tensor; 2]>,
    proj: Linear,
    layer_norm2: LayerNorm,
    mlp: Mlp,
    config: BlockConfig,
}

impl Block {
    pub(crate) fn load(loader: &Loader, config: BlockConfig) -> Result<Self> {
        let BlockConfig { channels, heads, mlp_channels, epsilon, .. } = config;
        let attention = loader.at("attn");
        let relative = config.relative_side.map(|side| {
            let table = |name| attention.tensor(name, &[2 * side - 1, channels / heads]);
            Ok::<_, Error>([table("rel_pos_h")?, table("rel_pos_w")?])
        });
        let inputs = config.pooled_from.unwrap_or(channels);
        let _copies = loader.copies(2, 3 * channels * inputs)?;
        let weight = attention.weight("qkv.weight", &[3 * channels, inputs])?;
        let bias = config.qkv_bias.then(|| attention.raw("qkv.bias", &[3 * channels])).transpose()?;
        let padding = config.window.map(|_| {
            Ok::<_, Error>(match &bias {
                Some(bias) => loader.device.load(bias)?.reshape([1, 3 * channels])?,
                None => loader.device.filled([1, 3 * channels], 0.0)?,
            })
        });
        // No residual carries what rounding takes from a shortcut.
        let shortcut = config.pooled_from.map(|inputs| loader.exact().linear("proj", inputs, channels));
        Ok(Self {
            layer_norm1: loader.layer_norm("layer_norm1", inputs, epsilon)?,
            shortcut: shortcut.transpose()?,
            qkv: loader.device.load_linear(&weight, bias.as_ref())?,
            padding: padding.transpose()?,
            relative: relative.transpose()?,
            proj: attention.linear("proj", channels, channels)?,
            layer_norm2: loader.layer_norm("layer_norm2", channels, epsilon)?,
            mlp: Mlp::load(&loader.at("mlp"), ["lin1", "lin2"], channels, mlp_channels, Activation::Gelu)?,
            config,
        })
    }

    /// Takes `x: [B, h, w, C]` by value: at the peak of a large model every map counts.
    pub(crate) fn forward(&self, device: &Device, mut x: Tensor) -> Result<Tensor> {
        let attended = {
            let normed = device.layer_norm(&x, &self.layer_norm1, Activation::Identity)?;
            if let Some(shortcut) = &self.shortcut {
                let wide = device.linear(&normed, shortcut, &Epilogue::NONE)?;
                x = device.max_pool2d(Rows::whole(&wide), self.config.channels, POOL)?;
            }
            let qkv = device.linear(&normed, &self.qkv, &Epilogue::NONE)?;
            drop(normed);
            self.attend(device, &qkv)?
        };
        x = device.linear(&attended, &self.proj, &Epilogue::add(&x))?;
        drop(attended);
        let normed = device.layer_norm(&x, &self.layer_norm2, Activation::Identity)?;
        self.mlp.forward(device, normed, &x)
    }

    fn attend(&self, device: &Device, qkv: &Tensor) -> Result<Tensor> {
        let [batch, height, width, _] = qkv.shape().fixed("attention")?;
        let BlockConfig { channels, heads, .. } = self.config;
        let head_channels = channels / heads;
        let query_stride = if self.shortcut.is_some() { POOL } else { 1 };
        let pooled = match query_stride {
            1 => None,
            _ => Some(device.max_pool2d(Rows::columns(qkv, 0), channels, query_stride)?),
        };
        let (layout, grid) = match self.config.window {
            Some(window) => {
                let padding = self.padding.as_ref();
                let grid = [height, width];
                (TokenLayout::Windows { batch, grid, window, query_stride, padding }, [window; 2])
            }
            None => {
                let keys = height * width;
                let queries = (height / query_stride) * (width / query_stride);
                (TokenLayout::Sequence { batch, key_batch: batch, queries, keys }, [height, width])
            }
        };
        let bias = match &self.relative {
            Some([rows, columns]) => AttentionBias::RelativePosition { rows, columns, grid },
            None => AttentionBias::None,
        };
        Ok(device.attention(&Attention {
            q: pooled.as_ref().map_or(Rows::columns(qkv, 0), Rows::whole),
            k: Rows::columns(qkv, channels),
            v: Rows::columns(qkv, 2 * channels),
            heads,
            head_channels,
            value_channels: head_channels,
            scale: 1.0 / (head_channels as f32).sqrt(),
            layout,
            bias,
            precision: self.qkv.precision(),
        })?)
    }
}
