//! ViTDet's plain vision transformer: windowed and global attention with decomposed relative positions.

use samovar_tensor::{
    Activation, Attention, AttentionBias, Conv2d, Conv2dGeometry, Device, Epilogue, LayerNorm, Linear, Rows,
    Tensor, TokenLayout,
};

use super::loader::Loader;
use super::mlp::Mlp;
use super::neck::Neck;
use crate::error::{Error, Result};
use crate::limits::{MAX_CHANNELS, MAX_DEPTH, MAX_GRID_SIDE, MAX_INPUT_SIDE, at_most, divides, positive};

/// Side of a patch.
const MAX_PATCH_SIDE: usize = 256;
/// Side of a window.
const MAX_WINDOW_SIDE: usize = 1024;

/// Dimensions of a [`Vit`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VitConfig {
    pub(crate) image_size: usize,
    pub(crate) patch_size: usize,
    pub(crate) channels: usize,
    pub(crate) depth: usize,
    pub(crate) heads: usize,
    pub(crate) mlp_channels: usize,
    /// Window side of the blocks that are not global; 0 makes all of them global.
    pub(crate) window: usize,
    pub(crate) global_blocks: Vec<usize>,
    pub(crate) output_channels: usize,
    pub(crate) epsilon: f32,
    pub(crate) qkv_bias: bool,
    pub(crate) absolute_positions: bool,
    pub(crate) relative_positions: bool,
}

impl VitConfig {
    pub(crate) fn check(&self) -> Result<()> {
        at_most("image size", self.image_size, MAX_INPUT_SIDE)?;
        at_most("patch size", self.patch_size, MAX_PATCH_SIDE)?;
        if !self.image_size.is_multiple_of(self.patch_size) {
            let what =
                format!("patches of {} do not divide an image of {}", self.patch_size, self.image_size);
            return Err(Error::Config(what));
        }
        at_most("patches along a side", self.grid(), MAX_GRID_SIDE)?;
        divides("vision encoder", self.channels, self.heads)?;
        at_most("vision encoder: depth", self.depth, MAX_DEPTH)?;
        at_most("vision encoder: mlp", self.mlp_channels, MAX_CHANNELS)?;
        at_most("window", self.window.max(1), MAX_WINDOW_SIDE)?;
        positive("vision encoder: layer norm epsilon", self.epsilon)
    }

    /// Tokens along each side of the image.
    pub(crate) fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Window side of a block, or `None` when every token attends to every other.
    fn window_of(&self, index: usize) -> Option<usize> {
        (self.window > 0 && !self.global_blocks.contains(&index)).then_some(self.window)
    }

    /// The first block in which every token attends to every other.
    pub(crate) fn first_global(&self) -> Option<usize> {
        (0..self.depth).find(|&index| self.window_of(index).is_none())
    }

    fn block(&self, index: usize) -> BlockConfig {
        let window = self.window_of(index);
        BlockConfig {
            channels: self.channels,
            heads: self.heads,
            mlp_channels: self.mlp_channels,
            epsilon: self.epsilon,
            qkv_bias: self.qkv_bias,
            window,
            relative_side: self.relative_positions.then_some(window.unwrap_or(self.grid())),
        }
    }
}

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
    /// Side of the square of tokens that the relative positions speak of, where there are any.
    pub(crate) relative_side: Option<usize>,
}

pub(crate) struct Vit {
    patch_embed: Conv2d,
    positions: Option<Tensor>,
    blocks: Vec<Block>,
    first_global: Option<usize>,
    neck: Neck,
}

impl Vit {
    pub(crate) fn load(loader: &Loader, config: &VitConfig) -> Result<Self> {
        let VitConfig { channels, patch_size, .. } = *config;
        let grid = config.grid();
        let geometry = Conv2dGeometry::patches(patch_size);
        let positions =
            config.absolute_positions.then(|| loader.tensor("pos_embed", &[1, grid, grid, channels]));
        let blocks =
            (0..config.depth).map(|i| Block::load(&loader.at(format!("layers.{i}")), config.block(i)));
        Ok(Self {
            // Patches and neck are a fiftieth of the arithmetic, and every token goes through them.
            patch_embed: loader.exact().conv2d("patch_embed.projection", 3, channels, geometry, true)?,
            positions: positions.transpose()?,
            blocks: blocks.collect::<Result<_>>()?,
            first_global: config.first_global(),
            neck: Neck::load(&loader.at("neck").exact(), channels, config.output_channels)?,
        })
    }

    /// Pixels `[B, S, S, 3]` to `[B, h, w, output_channels]`. `early` sees the map `[B, h, w, channels]` behind the first
    /// global block.
    pub(crate) fn forward(
        &self,
        device: &Device,
        pixels: &Tensor,
        early: &mut dyn FnMut(&Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let positions = self.positions.as_ref().map_or(Epilogue::NONE, Epilogue::add);
        let mut x = device.conv2d(pixels, &self.patch_embed, &positions)?;
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(device, x)?;
            if self.first_global == Some(index) {
                early(&x)?;
            }
        }
        self.neck.forward(device, &x)
    }
}

/// A transformer layer: attention, then an MLP, each behind a norm and added to its input.
pub(crate) struct Block {
    layer_norm1: LayerNorm,
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
        let _copies = loader.copies(2, 3 * channels * channels)?;
        let weight = attention.weight("qkv.weight", &[3 * channels, channels])?;
        let bias = config.qkv_bias.then(|| attention.raw("qkv.bias", &[3 * channels])).transpose()?;
        let padding = config.window.map(|_| {
            Ok::<_, Error>(match &bias {
                Some(bias) => loader.device.load(bias)?.reshape([1, 3 * channels])?,
                None => loader.device.filled([1, 3 * channels], 0.0)?,
            })
        });
        Ok(Self {
            layer_norm1: loader.layer_norm("layer_norm1", channels, epsilon)?,
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
        let (layout, grid) = match self.config.window {
            Some(window) => {
                let padding = self.padding.as_ref();
                (TokenLayout::Windows { batch, grid: [height, width], window, padding }, [window; 2])
            }
            None => {
                let tokens = height * width;
                let layout = TokenLayout::Sequence { batch, key_batch: batch, queries: tokens, keys: tokens };
                (layout, [height, width])
            }
        };
        let bias = match &self.relative {
            Some([rows, columns]) => AttentionBias::RelativePosition { rows, columns, grid },
            None => AttentionBias::None,
        };
        Ok(device.attention(&Attention {
            q: Rows::columns(qkv, 0),
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
