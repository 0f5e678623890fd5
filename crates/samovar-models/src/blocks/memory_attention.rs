//! Memory attention: the tokens of an image take in what is remembered of an object.
//! (SAM 2, `sam2/modeling/memory_attention.py` upstream.)

use samovar_tensor::{Activation, Device, LayerNorm, Tensor};

use super::loader::Loader;
pub(crate) use super::self_cross_block::Remembered;
use super::self_cross_block::SelfCrossBlock;
pub(crate) use super::self_cross_block::SelfCrossConfig;
use super::{rotary, sine_positions};
use crate::error::{Error, Result};
use crate::limits::{MAX_CHANNELS, MAX_DEPTH, at_most, positive};
use crate::tracker::Begun;

/// How much of the positions is added to the image.
const POSITION_SHARE: f32 = 0.1;

/// Dimensions of a [`MemoryAttention`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MemoryAttentionConfig {
    pub(crate) layer: SelfCrossConfig,
    pub(crate) depth: usize,
    /// Of the rotary positions.
    pub(crate) theta: f32,
}

impl MemoryAttentionConfig {
    pub(crate) fn check(&self) -> Result<()> {
        let SelfCrossConfig { channels, memory_channels, mlp_channels, epsilon } = self.layer;
        at_most("memory attention: channels", channels, MAX_CHANNELS)?;
        at_most("memory attention: memory channels", memory_channels, MAX_CHANNELS)?;
        at_most("memory attention: mlp", mlp_channels, MAX_CHANNELS)?;
        at_most("memory attention: depth", self.depth, MAX_DEPTH)?;
        // Pairs turn with one of two axes; sines and cosines of memories come in pairs for each, too.
        if !channels.is_multiple_of(4) || !memory_channels.is_multiple_of(4) {
            let what = format!("memory attention: {channels} channels and memories of {memory_channels}");
            return Err(Error::Config(format!("{what}; expected multiples of 4")));
        }
        positive("memory attention: theta", self.theta)?;
        positive("memory attention: layer norm epsilon", epsilon)
    }
}

pub(crate) struct MemoryAttention {
    layers: Vec<SelfCrossBlock>,
    norm: LayerNorm,
    /// `[cells, channels]`, added to the image.
    positions: Tensor,
    /// Of the image, `[cells, channels]`.
    turns: Tensor,
    /// Of what is remembered, `[its cells, channels]`.
    memory_turns: Tensor,
}

impl MemoryAttention {
    /// For maps of `grid` rows and columns and memories of `memory_grid`. The configuration has been checked.
    pub(crate) fn load(
        loader: &Loader,
        config: &MemoryAttentionConfig,
        grid: [usize; 2],
        memory_grid: [usize; 2],
    ) -> Result<Self> {
        let channels = config.layer.channels;
        let shape = [grid[0] * grid[1], channels];
        let positions = loader.derived(&shape, || {
            Ok(sine_positions::of_cells(grid, channels).iter().map(|x| POSITION_SHARE * x).collect())
        })?;
        let turns = |grid: [usize; 2]| -> Result<Tensor> {
            let turns = loader.derived(&[grid[0] * grid[1], channels], || {
                Ok(rotary::of_cells(grid, channels, config.theta))
            })?;
            Ok(loader.device.load(&turns)?)
        };
        let of_image = turns(grid)?;
        let of_memories = if memory_grid == grid { of_image.clone() } else { turns(memory_grid)? };
        let layer = |i| {
            SelfCrossBlock::load(&loader.at(format!("layers.{i}")), config.layer, memory_grid, config.theta)
        };
        Ok(Self {
            layers: (0..config.depth).map(layer).collect::<Result<_>>()?,
            norm: loader.layer_norm("layer_norm", channels, config.layer.epsilon)?,
            positions: loader.device.load(&positions)?,
            turns: of_image,
            memory_turns: of_memories,
        })
    }

    /// What all objects on an image `[1, cells, channels]` have in common: the first layer up to where memories come in.
    pub(crate) fn begin(&self, device: &Device, image: &Tensor) -> Result<Begun> {
        let x = device.add(image, &self.positions)?;
        self.layers[0].begin(device, &x, &self.turns)
    }

    /// The image `[1, cells, channels]` with what is remembered of one object.
    pub(crate) fn finish(&self, device: &Device, begun: &Begun, memories: &Remembered) -> Result<Tensor> {
        let mut x = self.layers[0].finish(device, begun, memories, &self.memory_turns)?;
        for layer in &self.layers[1..] {
            let begun = layer.begin(device, &x, &self.turns)?;
            x = layer.finish(device, &begun, memories, &self.memory_turns)?;
        }
        Ok(device.layer_norm(&x, &self.norm, Activation::Identity)?)
    }
}
