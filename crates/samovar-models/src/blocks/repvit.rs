//! RepViT, EdgeTAM's trunk: four stages of convolutions, depthwise ones that mix cells and pointwise ones that mix channels.
//! Branches and batch norms, which training has beside each other, are folded into one convolution each when the model is loaded.
//! (Wang et al. 2023, <https://arxiv.org/abs/2307.09283>; `timm/models/repvit.py`, the variants with `legacy`.)

use samovar_tensor::{
    Activation, BinaryOp, Conv2d, Conv2dGeometry, Device, Epilogue, Linear, Rows, Tensor, TokenLayout,
};

use super::attention::attention;
use super::hiera::STAGES;
use super::loader::{CONV_AND_NORM, FOLDED_COPIES, Loader};
use super::mlp::Mlp;
use crate::error::{Error, Result};
use crate::limits::{MAX_CHANNELS, MAX_DEPTH, MAX_GRID_SIDE, MAX_INPUT_SIDE, at_most};

/// Side of the kernels.
const KERNEL: usize = 3;
/// Pixels of a cell of the first stage's map, along a side.
const STEM_STRIDE: usize = 4;
/// Every stage but the first has half the cells of the one before, along a side.
const HALVING: usize = 2;
/// Every so many blocks of a stage, from the first on, weigh their channels by what is in the whole map.
const GATED: usize = 2;

/// Dimensions of a [`RepVit`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RepVitConfig {
    pub(crate) image_size: usize,
    pub(crate) stages: [RepVitStage; STAGES],
}

/// Dimensions of one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RepVitStage {
    pub(crate) channels: usize,
    /// Blocks, beside those that lead to the stage.
    pub(crate) depth: usize,
    /// Channels between the layers that mix channels.
    pub(crate) hidden: usize,
    /// Channels between the layers that weigh channels.
    pub(crate) squeezed: usize,
}

impl RepVitConfig {
    pub(crate) fn check(&self) -> Result<()> {
        at_most("image size", self.image_size, MAX_INPUT_SIDE)?;
        let multiple = STEM_STRIDE * HALVING.pow(STAGES as u32 - 1);
        if !self.image_size.is_multiple_of(multiple) {
            let what = format!("input size {} is not a multiple of {multiple}", self.image_size);
            return Err(Error::Config(what));
        }
        at_most("cells along a side", self.grid(0), MAX_GRID_SIDE)?;
        for stage in &self.stages {
            at_most("trunk: stage: channels", stage.channels, MAX_CHANNELS)?;
            at_most("trunk: stage: depth", stage.depth, MAX_DEPTH)?;
            at_most("trunk: stage: hidden channels", stage.hidden, MAX_CHANNELS)?;
            at_most("trunk: stage: squeezed channels", stage.squeezed, MAX_CHANNELS)?;
        }
        at_most("trunk: stem channels", self.stages[0].channels / HALVING, MAX_CHANNELS)
    }

    /// Cells along each side of a stage's map.
    pub(crate) fn grid(&self, stage: usize) -> usize {
        self.image_size / (STEM_STRIDE * HALVING.pow(stage as u32))
    }

    /// Channels of the stages' maps.
    pub(crate) fn channels(&self) -> [usize; STAGES] {
        self.stages.map(|stage| stage.channels)
    }
}

pub(crate) struct RepVit {
    stem: [Conv2d; 2],
    stages: Vec<Stage>,
}

struct Stage {
    descent: Option<Descent>,
    blocks: Vec<Block>,
}

impl RepVit {
    /// The configuration has been checked.
    pub(crate) fn load(loader: &Loader, config: &RepVitConfig) -> Result<Self> {
        let channels = config.stages[0].channels;
        let halve = Conv2dGeometry::same(KERNEL).stride(HALVING);
        // As TinyViT's: what lies between residuals, and the stem, which reads three channels.
        let stem = loader.at("stem").exact();
        let stage = |index: usize| -> Result<Stage> {
            let (stage, loader) = (config.stages[index], loader.at(format!("stages_{index}")));
            let before = index.checked_sub(1).map(|before| config.stages[before]);
            let descent = before.map(|before| Descent::load(&loader.at("downsample"), before, stage));
            let block = |index: usize| {
                let squeezed = index.is_multiple_of(GATED).then_some(stage.squeezed);
                Block::load(&loader.at(format!("blocks.{index}")), stage, squeezed)
            };
            Ok(Stage {
                descent: descent.transpose()?,
                blocks: (0..stage.depth).map(block).collect::<Result<_>>()?,
            })
        };
        Ok(Self {
            stem: [
                stem.folded_conv("conv1", 3, channels / HALVING, halve)?,
                stem.folded_conv("conv2", channels / HALVING, channels, halve)?,
            ],
            stages: (0..STAGES).map(stage).collect::<Result<_>>()?,
        })
    }

    /// Pixels `[B, S, S, 3]` to what `keep` makes of the map of every stage, fine to coarse; it gets the stage and its map.
    pub(crate) fn forward(
        &self,
        device: &Device,
        pixels: &Tensor,
        keep: &dyn Fn(usize, &Tensor) -> Result<Tensor>,
    ) -> Result<Vec<Tensor>> {
        let mut x = device.conv2d(pixels, &self.stem[0], &Epilogue::act(Activation::Gelu))?;
        x = device.conv2d(&x, &self.stem[1], &Epilogue::NONE)?;
        let mut kept = Vec::with_capacity(STAGES);
        for (index, stage) in self.stages.iter().enumerate() {
            if let Some(descent) = &stage.descent {
                x = descent.forward(device, x)?;
            }
            for block in &stage.blocks {
                x = block.forward(device, x)?;
            }
            kept.push(keep(index, &x)?);
        }
        Ok(kept)
    }
}

struct Block {
    /// A depthwise convolution, one of a single cell, and what goes in, added up.
    cells: Conv2d,
    gate: Option<Gate>,
    channels: Mlp,
}

impl Block {
    fn load(loader: &Loader, stage: RepVitStage, squeezed: Option<usize>) -> Result<Self> {
        let RepVitStage { channels, hidden, .. } = stage;
        let gate = squeezed.map(|squeezed| Gate::load(&loader.at("se").exact(), channels, squeezed));
        Ok(Self {
            cells: branches(&loader.at("token_mixer"), channels)?,
            gate: gate.transpose()?,
            channels: channel_mixer(&loader.at("channel_mixer"), channels, hidden)?,
        })
    }

    fn forward(&self, device: &Device, x: Tensor) -> Result<Tensor> {
        let mut x = device.conv2d(&x, &self.cells, &Epilogue::NONE)?;
        if let Some(gate) = &self.gate {
            x = gate.forward(device, x)?;
        }
        self.channels.forward(device, x.clone(), &x)
    }
}

/// The convolution of a block's three branches.
fn branches(loader: &Loader, channels: usize) -> Result<Conv2d> {
    let geometry = Conv2dGeometry::same(KERNEL).depthwise(channels);
    let _copies = loader.copies(2 * FOLDED_COPIES, channels * KERNEL * KERNEL)?;
    let (wide, wide_bias) = loader.conv_bn("conv", CONV_AND_NORM, channels, channels, geometry)?;
    let one_cell = Conv2dGeometry::same(1).depthwise(channels);
    let (narrow, narrow_bias) = loader.conv_bn("conv1", CONV_AND_NORM, channels, channels, one_cell)?;
    let weight = loader.derived(&[channels, 1, KERNEL, KERNEL], || {
        let mut taps = wide.to_f32_vec()?;
        let centres = taps.iter_mut().skip(KERNEL * KERNEL / 2).step_by(KERNEL * KERNEL);
        for (centre, narrow) in centres.zip(narrow.to_f32_vec()?) {
            *centre = (f64::from(*centre) + f64::from(narrow) + 1.0) as f32;
        }
        Ok(taps)
    })?;
    let bias = loader.derived(&[channels], || {
        let (wide, narrow) = (wide_bias.to_f32_vec()?, narrow_bias.to_f32_vec()?);
        Ok(wide.iter().zip(&narrow).map(|(wide, narrow)| wide + narrow).collect())
    })?;
    Ok(loader.device.load_conv2d(&weight, Some(&bias), geometry)?)
}

fn channel_mixer(loader: &Loader, channels: usize, hidden: usize) -> Result<Mlp> {
    let layers = [
        loader.folded_pointwise("conv1", channels, hidden)?,
        loader.folded_pointwise("conv2", hidden, channels)?,
    ];
    Ok(Mlp::of(layers, Activation::Gelu))
}

/// From one stage's map to the next one's.
struct Descent {
    before: Block,
    halve: Conv2d,
    widen: Linear,
    after: Mlp,
}

impl Descent {
    fn load(loader: &Loader, from: RepVitStage, to: RepVitStage) -> Result<Self> {
        let halve = Conv2dGeometry::same(KERNEL).stride(HALVING).depthwise(from.channels);
        let exact = loader.exact();
        Ok(Self {
            before: Block::load(&loader.at("pre_block"), from, None)?,
            halve: exact.folded_conv("spatial_downsample", from.channels, from.channels, halve)?,
            widen: exact.folded_pointwise("channel_downsample", from.channels, to.channels)?,
            after: channel_mixer(&loader.at("ffn"), to.channels, to.hidden)?,
        })
    }

    fn forward(&self, device: &Device, x: Tensor) -> Result<Tensor> {
        let mut x = self.before.forward(device, x)?;
        x = device.conv2d(&x, &self.halve, &Epilogue::NONE)?;
        x = device.linear(&x, &self.widen, &Epilogue::NONE)?;
        self.after.forward(device, x.clone(), &x)
    }
}

/// Squeeze and excitation: channels times numbers from 0 to 1 that follow from the means of all channels.
/// (Hu et al. 2018, <https://arxiv.org/abs/1709.01507>.)
struct Gate {
    squeeze: Linear,
    excite: Linear,
}

impl Gate {
    fn load(loader: &Loader, channels: usize, squeezed: usize) -> Result<Self> {
        Ok(Self {
            squeeze: loader.pointwise("fc1", channels, squeezed, true)?,
            excite: loader.pointwise("fc2", squeezed, channels, true)?,
        })
    }

    fn forward(&self, device: &Device, x: Tensor) -> Result<Tensor> {
        let means = means(device, &x)?;
        let squeezed = device.linear(&means, &self.squeeze, &Epilogue::act(Activation::Relu))?;
        let gates = device.linear(&squeezed, &self.excite, &Epilogue::act(Activation::Sigmoid))?;
        let [batch, ..] = x.dims() else { return Ok(x) };
        let gated = |image: usize| -> Result<Tensor> {
            let (x, gates) = (x.narrow(image, 1)?, gates.narrow(image, 1)?);
            Ok(device.binary(BinaryOp::Multiply, &x, &gates, Activation::Identity)?)
        };
        match batch {
            1 => gated(0),
            _ => {
                let images = (0..*batch).map(gated).collect::<Result<Vec<_>>>()?;
                Ok(device.concat(&images.iter().collect::<Vec<_>>(), 0)?)
            }
        }
    }
}

/// The mean of every channel of maps, `[B, h, w, C]` to `[B, C]`: attention of a query that likes all cells alike. Rows come
/// first, then the means of the rows, so that no sum is long.
fn means(device: &Device, x: &Tensor) -> Result<Tensor> {
    let [batch, height, width, channels] = x.shape().fixed("means of channels")?;
    let of_rows = |x: &Tensor, batch: usize, keys: usize| {
        let query = device.filled([batch, channels], 0.0)?;
        let layout = TokenLayout::Sequence { batch, key_batch: batch, queries: 1, keys };
        attention(device, 1, channels, Rows::whole(&query), Rows::whole(x), Rows::whole(x), layout)
    };
    of_rows(&of_rows(x, batch * height, width)?, batch, height)
}
