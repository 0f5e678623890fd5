//! HGNetV2, the backbone of D-FINE (PaddleDetection's `hgnet_v2.py`): blocks that keep the results of all their layers, put them
//! side by side and mix them.

use samovar_tensor::{Activation, BinaryOp, Conv2dGeometry, Device, Tensor};

use super::conv_norm::{ConvNorm, ConvNormConfig};
use super::loader::Loader;
use crate::error::{Error, Result};
use crate::limits::{MAX_CHANNELS, MAX_DEPTH, at_most};

/// Stages of all its sizes.
pub(crate) const STAGES: usize = 4;
/// Pixels of a cell of the first stage's map; every further stage halves.
pub(crate) const FIRST_STRIDE: usize = 4;
/// Side of a kernel.
const MAX_KERNEL: usize = 31;
/// transformers' names.
const NAMES: [&str; 2] = ["convolution", "normalization"];

/// Dimensions of a [`HgNet`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HgNetConfig {
    /// Of the stem: within, and of its result.
    pub(crate) stem: [usize; 2],
    pub(crate) stages: [HgStageConfig; STAGES],
    /// Whether activations are followed by learnable affine blocks.
    pub(crate) affine: bool,
}

/// Dimensions of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HgStageConfig {
    pub(crate) middle: usize,
    pub(crate) outputs: usize,
    /// Blocks behind each other.
    pub(crate) blocks: usize,
    /// Layers of a block.
    pub(crate) layers: usize,
    pub(crate) kernel: usize,
    /// Whether its layers are a product and a depthwise convolution instead of a dense one.
    pub(crate) light: bool,
}

impl HgNetConfig {
    pub(crate) fn check(&self) -> Result<()> {
        at_most("backbone: channels of the stem", self.stem[0], MAX_CHANNELS)?;
        at_most("backbone: channels behind the stem", self.stem[1], MAX_CHANNELS)?;
        if !self.stem[0].is_multiple_of(2) {
            let what = format!("backbone: {} channels of the stem are not even", self.stem[0]);
            return Err(Error::Config(what));
        }
        for stage in &self.stages {
            at_most("backbone: channels of layers", stage.middle, MAX_CHANNELS)?;
            at_most("backbone: channels of a stage", stage.outputs, MAX_CHANNELS)?;
            at_most("backbone: channels of a stage, halved", stage.outputs / 2, MAX_CHANNELS)?;
            at_most("backbone: blocks", stage.blocks, MAX_DEPTH)?;
            at_most("backbone: layers", stage.layers, MAX_DEPTH)?;
            at_most("backbone: kernel", stage.kernel, MAX_KERNEL)?;
            if stage.kernel.is_multiple_of(2) {
                return Err(Error::Config(format!("backbone: a kernel of {} has no middle", stage.kernel)));
            }
        }
        Ok(())
    }
}

pub(crate) struct HgNet {
    stem: Stem,
    stages: Vec<Stage>,
}

struct Stem {
    first: ConvNorm,
    branch: [ConvNorm; 2],
    join: ConvNorm,
    last: ConvNorm,
}

struct Stage {
    /// Absent in the first stage.
    downsample: Option<ConvNorm>,
    blocks: Vec<Block>,
}

struct Block {
    layers: Vec<Vec<ConvNorm>>,
    squeeze: ConvNorm,
    excite: ConvNorm,
    residual: bool,
}

impl HgNet {
    pub(crate) fn load(loader: &Loader, config: &HgNetConfig) -> Result<Self> {
        let mut stages = Vec::with_capacity(STAGES);
        let mut inputs = config.stem[1];
        for (index, stage) in config.stages.iter().enumerate() {
            let of_stage = loader.at(format!("encoder.stages.{index}"));
            stages.push(Stage::load(&of_stage, config, index, inputs)?);
            inputs = stage.outputs;
        }
        // Few products on large maps, whose errors all of it sees.
        Ok(Self { stem: Stem::load(&loader.at("embedder").exact(), config)?, stages })
    }

    /// Pixels `[B, S, S, 3]` to the maps of the stages from `first` on, fine to coarse.
    pub(crate) fn forward(&self, device: &Device, pixels: &Tensor, first: usize) -> Result<Vec<Tensor>> {
        let mut x = self.stem.forward(device, pixels)?;
        let mut maps = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            x = stage.forward(device, x)?;
            if index >= first {
                maps.push(x.clone());
            }
        }
        Ok(maps)
    }
}

/// A convolution of the backbone.
fn conv(
    config: &HgNetConfig,
    [inputs, outputs]: [usize; 2],
    geometry: Conv2dGeometry,
    activation: Activation,
) -> ConvNormConfig {
    let affine = config.affine && activation == Activation::Relu;
    ConvNormConfig { names: NAMES, inputs, outputs, geometry, activation, affine }
}

impl Stem {
    fn load(loader: &Loader, config: &HgNetConfig) -> Result<Self> {
        let [middle, outputs] = config.stem;
        let layer = |name: &str, channels: [usize; 2], geometry: Conv2dGeometry| {
            ConvNorm::load(loader, name, conv(config, channels, geometry, Activation::Relu))
        };
        let halve = Conv2dGeometry::same(3).stride(2);
        // Stride 1, and one row and column of zeros behind the map.
        let ahead = Conv2dGeometry::patches(2).stride(1);
        Ok(Self {
            first: layer("stem1", [3, middle], halve)?,
            branch: [
                layer("stem2a", [middle, middle / 2], ahead)?,
                layer("stem2b", [middle / 2, middle], ahead)?,
            ],
            join: layer("stem3", [2 * middle, middle], halve)?,
            last: layer("stem4", [middle, outputs], Conv2dGeometry::patches(1))?,
        })
    }

    fn forward(&self, device: &Device, pixels: &Tensor) -> Result<Tensor> {
        let x = self.first.forward(device, pixels)?;
        let narrow = self.branch[0].forward(device, &x)?;
        let branch = self.branch[1].forward(device, &narrow)?;
        drop(narrow);
        let pooled = largest_ahead(device, x)?;
        let joined = device.concat(&[&pooled, &branch], 3)?;
        drop((pooled, branch));
        let x = self.join.forward(device, &joined)?;
        drop(joined);
        self.last.forward(device, &x)
    }
}

/// The largest of every cell, the next one, and the two below, with zeros beyond the map.
fn largest_ahead(device: &Device, mut x: Tensor) -> Result<Tensor> {
    for axis in [2, 1] {
        let [_, height, width, channels] = x.shape().fixed("stem")?;
        let mut beyond = [1, height, width, channels];
        beyond[axis] = 1;
        let ahead = device.slice(&x, axis, 1, x.dims()[axis] - 1)?;
        let ahead = device.concat(&[&ahead, &device.filled(beyond, 0.0)?], axis)?;
        x = device.binary(BinaryOp::Maximum, &x, &ahead, Activation::Identity)?;
    }
    Ok(x)
}

impl Stage {
    fn load(loader: &Loader, config: &HgNetConfig, index: usize, inputs: usize) -> Result<Self> {
        let stage = config.stages[index];
        let geometry = Conv2dGeometry::same(3).stride(2).depthwise(inputs);
        let downsample = conv(config, [inputs; 2], geometry, Activation::Identity);
        let downsample = (index > 0).then(|| ConvNorm::load(loader, "downsample", downsample));
        let blocks = (0..stage.blocks).map(|block| {
            let inputs = if block == 0 { inputs } else { stage.outputs };
            Block::load(&loader.at(format!("blocks.{block}")), config, stage, inputs, block > 0)
        });
        Ok(Self { downsample: downsample.transpose()?, blocks: blocks.collect::<Result<_>>()? })
    }

    fn forward(&self, device: &Device, mut x: Tensor) -> Result<Tensor> {
        if let Some(downsample) = &self.downsample {
            x = downsample.forward(device, &x)?;
        }
        for block in &self.blocks {
            x = block.forward(device, x)?;
        }
        Ok(x)
    }
}

impl Block {
    fn load(
        loader: &Loader,
        config: &HgNetConfig,
        stage: HgStageConfig,
        inputs: usize,
        residual: bool,
    ) -> Result<Self> {
        let HgStageConfig { middle, outputs, layers, kernel, light, .. } = stage;
        let (same, point) = (Conv2dGeometry::same(kernel), Conv2dGeometry::patches(1));
        let layer = |index: usize| -> Result<Vec<ConvNorm>> {
            let channels = [if index == 0 { inputs } else { middle }, middle];
            let name = format!("layers.{index}");
            if !light {
                let dense = conv(config, channels, same, Activation::Relu);
                return Ok(vec![ConvNorm::load(loader, &name, dense)?]);
            }
            let product = conv(config, channels, point, Activation::Identity);
            let depthwise = conv(config, [middle; 2], same.depthwise(middle), Activation::Relu);
            Ok(vec![
                ConvNorm::load(loader, &format!("{name}.conv1"), product)?,
                ConvNorm::load(loader, &format!("{name}.conv2"), depthwise)?,
            ])
        };
        let mix = |index: usize, channels: [usize; 2]| {
            let name = format!("aggregation.{index}");
            ConvNorm::load(loader, &name, conv(config, channels, point, Activation::Relu))
        };
        Ok(Self {
            layers: (0..layers).map(layer).collect::<Result<_>>()?,
            squeeze: mix(0, [inputs + layers * middle, outputs / 2])?,
            excite: mix(1, [outputs / 2, outputs])?,
            residual,
        })
    }

    fn forward(&self, device: &Device, x: Tensor) -> Result<Tensor> {
        let mut results = vec![x.clone()];
        for layer in &self.layers {
            let mut y = results[results.len() - 1].clone();
            for conv in layer {
                y = conv.forward(device, &y)?;
            }
            results.push(y);
        }
        let together = device.concat(&results.iter().collect::<Vec<_>>(), 3)?;
        drop(results);
        let squeezed = self.squeeze.forward(device, &together)?;
        drop(together);
        self.excite.forward_then_add(device, &squeezed, self.residual.then_some(&x))
    }
}
