//! RT-DETR's hybrid encoder in D-FINE's form: attention among the cells of the coarsest map, then a pyramid down and up again whose
//! blocks are `RepNCSPELAN4` (`src/zoo/dfine/hybrid_encoder.py` upstream).

use samovar_tensor::{Activation, Conv2dGeometry, Device, LayerNorm, ResizeMode, Tensor};

use super::conv_norm::{ConvNorm, ConvNormConfig};
use super::loader::Loader;
use super::mlp::Mlp;
use super::placed_attention::PlacedAttention;
use super::sine_positions;
use crate::error::{Error, Result};
use crate::limits::{MAX_CHANNELS, MAX_DEPTH, MAX_GRID_SIDE, at_most, divides};

/// transformers' names.
const NAMES: [&str; 2] = ["conv", "norm"];
/// The same of projections, which are lists.
const NUMBERED: [&str; 2] = ["0", "1"];

/// Dimensions of a [`HybridEncoder`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HybridEncoderConfig {
    /// Channels of the maps of the backbone, fine to coarse.
    pub(crate) inputs: Vec<usize>,
    pub(crate) channels: usize,
    pub(crate) heads: usize,
    pub(crate) mlp_channels: usize,
    /// Attention layers on the coarsest map.
    pub(crate) layers: usize,
    /// Channels within the blocks of the pyramid.
    pub(crate) block_channels: usize,
    /// Convolutions behind each other in them.
    pub(crate) block_depth: usize,
    pub(crate) epsilon: f32,
}

impl HybridEncoderConfig {
    pub(crate) fn check(&self) -> Result<()> {
        at_most("encoder: levels", self.inputs.len(), 8)?;
        for &inputs in &self.inputs {
            at_most("encoder: channels of the backbone", inputs, MAX_CHANNELS)?;
        }
        divides("encoder", self.channels, self.heads)?;
        if !self.channels.is_multiple_of(4) {
            let what = format!("encoder: positions in {} channels, which are no quarters", self.channels);
            return Err(Error::Config(what));
        }
        at_most("encoder: hidden channels", self.mlp_channels, MAX_CHANNELS)?;
        at_most("encoder: layers", self.layers, MAX_DEPTH)?;
        at_most("encoder: channels of blocks", self.block_channels, MAX_CHANNELS)?;
        at_most("encoder: depth of blocks", self.block_depth, MAX_DEPTH)
    }
}

pub(crate) struct HybridEncoder {
    inputs: Vec<ConvNorm>,
    layers: Vec<Layer>,
    /// Of the cells of the coarsest map, `[1, h · w, C]`.
    positions: Tensor,
    /// From coarse to fine.
    down: Vec<Down>,
    /// From fine to coarse.
    up: Vec<Up>,
}

struct Layer {
    attention: PlacedAttention,
    attention_norm: LayerNorm,
    mlp: Mlp,
    norm: LayerNorm,
}

struct Down {
    lateral: ConvNorm,
    block: Elan,
}

struct Up {
    halve: [ConvNorm; 2],
    block: Elan,
}

impl HybridEncoder {
    /// `grid` is the side of the coarsest map.
    pub(crate) fn load(loader: &Loader, config: &HybridEncoderConfig, grid: usize) -> Result<Self> {
        at_most("cells along a side of the coarsest map", grid, MAX_GRID_SIDE)?;
        let channels = config.channels;
        let project = |(level, &inputs): (usize, &usize)| {
            let layer = conv(NUMBERED, [inputs, channels], Conv2dGeometry::patches(1), Activation::Identity);
            ConvNorm::load(loader, &format!("encoder_input_proj.{level}"), layer)
        };
        let encoder = &loader.at("encoder");
        let positions = encoder.constant(&[1, grid * grid, channels], || {
            Ok(sine_positions::of_rows_and_columns([grid; 2], channels))
        })?;
        let point = conv(NAMES, [channels; 2], Conv2dGeometry::patches(1), Activation::Identity);
        let halve = Conv2dGeometry::same(3).stride(2).depthwise(channels);
        let halve = conv(NAMES, [channels; 2], halve, Activation::Identity);
        let steps = 0..config.inputs.len() - 1;
        let down = steps.clone().map(|step| {
            Ok(Down {
                lateral: ConvNorm::load(encoder, &format!("lateral_convs.{step}"), point)?,
                block: Elan::load(&encoder.at(format!("fpn_blocks.{step}")), config)?,
            })
        });
        let up = steps.map(|step| {
            let name = format!("downsample_convs.{step}");
            Ok(Up {
                halve: [
                    ConvNorm::load(encoder, &format!("{name}.conv1"), point)?,
                    ConvNorm::load(encoder, &format!("{name}.conv2"), halve)?,
                ],
                block: Elan::load(&encoder.at(format!("pan_blocks.{step}")), config)?,
            })
        });
        let layer = |index: usize| Layer::load(&encoder.at(format!("encoder.0.layers.{index}")), config);
        Ok(Self {
            inputs: config.inputs.iter().enumerate().map(project).collect::<Result<_>>()?,
            layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
            positions,
            down: down.collect::<Result<_>>()?,
            up: up.collect::<Result<_>>()?,
        })
    }

    /// Maps of the backbone, fine to coarse, to as many of `[B, h, w, C]`.
    pub(crate) fn forward(&self, device: &Device, maps: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let mut projected = Vec::with_capacity(maps.len());
        for (map, layer) in maps.into_iter().zip(&self.inputs) {
            projected.push(layer.forward(device, &map)?);
        }
        let coarsest = projected.pop().ok_or_else(|| Error::Input("no map to encode".into()))?;
        let mut x = self.attend(device, &coarsest)?;
        drop(coarsest);
        // Coarse to fine.
        let mut laterals = Vec::with_capacity(self.down.len());
        for Down { lateral, block } in &self.down {
            let finer = projected.pop().ok_or_else(|| Error::Input("a map is missing".into()))?;
            let [_, height, width, _] = finer.shape().fixed("pyramid")?;
            let coarse = lateral.forward(device, &x)?;
            let enlarged = device.resize(&coarse, height, width, ResizeMode::Nearest)?;
            laterals.push(coarse);
            let joined = device.concat(&[&enlarged, &finer], 3)?;
            drop((enlarged, finer));
            x = block.forward(device, joined)?;
        }
        let mut results = vec![x];
        for Up { halve, block } in &self.up {
            let coarse = laterals.pop().ok_or_else(|| Error::Input("a map is missing".into()))?;
            let x = halve[0].forward(device, &results[results.len() - 1])?;
            let x = halve[1].forward(device, &x)?;
            let joined = device.concat(&[&x, &coarse], 3)?;
            drop((x, coarse));
            results.push(block.forward(device, joined)?);
        }
        Ok(results)
    }

    fn attend(&self, device: &Device, map: &Tensor) -> Result<Tensor> {
        let [batch, height, width, channels] = map.shape().fixed("encoder")?;
        let mut x = map.reshape([batch, height * width, channels])?;
        for layer in &self.layers {
            let attended = layer.attention.forward(device, &x, &self.positions)?;
            x = device.layer_norm(&attended, &layer.attention_norm, Activation::Identity)?;
            drop(attended);
            let y = layer.mlp.forward(device, x.clone(), &x)?;
            x = device.layer_norm(&y, &layer.norm, Activation::Identity)?;
        }
        Ok(x.reshape([batch, height, width, channels])?)
    }
}

fn conv(
    names: [&'static str; 2],
    [inputs, outputs]: [usize; 2],
    geometry: Conv2dGeometry,
    activation: Activation,
) -> ConvNormConfig {
    ConvNormConfig { names, inputs, outputs, geometry, activation, affine: false }
}

impl Layer {
    fn load(loader: &Loader, config: &HybridEncoderConfig) -> Result<Self> {
        let &HybridEncoderConfig { channels, heads, mlp_channels, epsilon, .. } = config;
        Ok(Self {
            attention: PlacedAttention::load(&loader.at("self_attn"), channels, heads)?,
            attention_norm: loader.layer_norm("self_attn_layer_norm", channels, epsilon)?,
            mlp: Mlp::load(loader, ["fc1", "fc2"], channels, mlp_channels, Activation::Gelu)?,
            norm: loader.layer_norm("final_layer_norm", channels, epsilon)?,
        })
    }
}

/// `RepNCSPELAN4`: half of the channels go through two branches behind each other, and all that comes about is mixed.
struct Elan {
    split: ConvNorm,
    branches: [(Csp, ConvNorm); 2],
    mix: ConvNorm,
    channels: usize,
}

/// Two projections of the same input, one of them sent through a row of convolutions, and added up.
struct Csp {
    through: ConvNorm,
    beside: ConvNorm,
    convolutions: Vec<ConvNorm>,
}

impl Elan {
    fn load(loader: &Loader, config: &HybridEncoderConfig) -> Result<Self> {
        let (channels, middle) = (config.channels, config.block_channels);
        let layer = |name: &str, channels: [usize; 2], geometry: Conv2dGeometry| {
            ConvNorm::load(loader, name, conv(NAMES, channels, geometry, Activation::Silu))
        };
        let (point, same) = (Conv2dGeometry::patches(1), Conv2dGeometry::same(3));
        let csp = |name: &str, inputs: usize| Csp::load(&loader.at(name), inputs, config);
        Ok(Self {
            split: layer("conv1", [2 * channels, 2 * channels], point)?,
            branches: [
                (csp("csp_rep1", channels)?, layer("conv2", [middle; 2], same)?),
                (csp("csp_rep2", middle)?, layer("conv3", [middle; 2], same)?),
            ],
            mix: layer("conv4", [2 * (channels + middle), channels], point)?,
            channels,
        })
    }

    /// `[B, h, w, 2 C]` to `[B, h, w, C]`.
    fn forward(&self, device: &Device, x: Tensor) -> Result<Tensor> {
        let halves = self.split.forward(device, &x)?;
        drop(x);
        let second = device.slice(&halves, 3, self.channels, self.channels)?;
        let mut results = vec![second];
        for (csp, conv) in &self.branches {
            let y = csp.forward(device, &results[results.len() - 1])?;
            results.push(conv.forward(device, &y)?);
        }
        let together = device.concat(&[&halves, &results[1], &results[2]], 3)?;
        drop((halves, results));
        self.mix.forward(device, &together)
    }
}

impl Csp {
    fn load(loader: &Loader, inputs: usize, config: &HybridEncoderConfig) -> Result<Self> {
        let channels = config.block_channels;
        let project = conv(NAMES, [inputs, channels], Conv2dGeometry::patches(1), Activation::Silu);
        let convolution = |index: usize| {
            let loader = loader.at(format!("bottlenecks.{index}"));
            ConvNorm::load_pair(&loader, ["conv1", "conv2"], NAMES, channels, Activation::Silu)
        };
        Ok(Self {
            through: ConvNorm::load(loader, "conv1", project)?,
            beside: ConvNorm::load(loader, "conv2", project)?,
            convolutions: (0..config.block_depth).map(convolution).collect::<Result<_>>()?,
        })
    }

    fn forward(&self, device: &Device, x: &Tensor) -> Result<Tensor> {
        let mut y = self.through.forward(device, x)?;
        for convolution in &self.convolutions {
            y = convolution.forward(device, &y)?;
        }
        self.beside.forward_then_add(device, x, Some(&y))
    }
}
