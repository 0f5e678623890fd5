//! ViTDet's plain vision transformer: windowed and global attention with decomposed relative positions.

use samovar_tensor::{Conv2d, Conv2dGeometry, Device, Epilogue, Tensor};

use super::loader::Loader;
use super::neck::Neck;
use super::vit_block::{Block, BlockConfig};
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
            pooled_from: None,
            relative_side: self.relative_positions.then_some(window.unwrap_or(self.grid())),
        }
    }
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
