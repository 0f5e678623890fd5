//! Memory encoder: an image and the mask of an object on it become a map that is remembered.
//! (SAM 2, `sam2/modeling/memory_encoder.py` upstream.)

use samovar_tensor::{Activation, Conv2d, Conv2dGeometry, Device, Epilogue, LayerNorm, Linear, Tensor};

use super::loader::Loader;
use super::mlp::Mlp;
use crate::error::{Error, Result};
use crate::limits::{MAX_CHANNELS, MAX_DEPTH, at_most};

/// Every layer of the mask halves its sides and has so many times the channels.
const HALVING: usize = 2;
const WIDENING: usize = HALVING * HALVING;
/// Of all norms here, and in none of upstream's configurations.
const EPSILON: f32 = 1e-6;
/// Kernels of the layers of the mask, and of the fuser.
const MASK_KERNEL: usize = 3;
const FUSER_KERNEL: usize = 7;

/// Dimensions of a [`MemoryEncoder`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MemoryEncoderConfig {
    /// Of the image.
    pub(crate) channels: usize,
    /// Of the memory.
    pub(crate) memory_channels: usize,
    /// Sides of the mask over those of the image's map, a power of two.
    pub(crate) stride: usize,
    pub(crate) fuser_depth: usize,
    pub(crate) fuser_hidden: usize,
}

impl MemoryEncoderConfig {
    /// `stride` is that of the image's map.
    pub(crate) fn check(&self, stride: usize) -> Result<()> {
        at_most("memory encoder: channels", self.channels, MAX_CHANNELS)?;
        at_most("memory encoder: memory channels", self.memory_channels, MAX_CHANNELS)?;
        at_most("memory encoder: fuser", self.fuser_hidden, MAX_CHANNELS)?;
        at_most("memory encoder: fuser: depth", self.fuser_depth, MAX_DEPTH)?;
        if self.stride != stride || !stride.is_power_of_two() {
            let what =
                format!("masks are taken down {}-fold, and a cell of the image is {stride}", self.stride);
            return Err(Error::Config(format!("memory encoder: {what} pixels wide")));
        }
        Ok(())
    }

    /// Channels behind each layer of the mask.
    fn mask_channels(&self) -> impl Iterator<Item = usize> + use<> {
        (1..=self.stride.ilog2()).map(|layer| WIDENING.pow(layer))
    }
}

pub(crate) struct MemoryEncoder {
    mask_layers: Vec<(Conv2d, LayerNorm)>,
    mask_out: Linear,
    image: Linear,
    fuser: Vec<FuserBlock>,
    out: Linear,
}

/// `x + scale · lin2(gelu(lin1(norm(depthwise(x)))))`: ConvNeXt's block.
struct FuserBlock {
    depthwise: Conv2d,
    norm: LayerNorm,
    mlp: Mlp,
}

impl MemoryEncoder {
    /// The configuration has been checked.
    pub(crate) fn load(loader: &Loader, config: MemoryEncoderConfig) -> Result<Self> {
        let MemoryEncoderConfig { channels, memory_channels, fuser_depth, fuser_hidden, .. } = config;
        let masks = loader.at("mask_downsampler");
        let (mut mask_layers, mut inputs) = (Vec::new(), 1);
        for (index, outputs) in config.mask_channels().enumerate() {
            let layer = masks.at(format!("layers.{index}"));
            let geometry = Conv2dGeometry::same(MASK_KERNEL).stride(HALVING);
            let conv = layer.conv2d("conv", inputs, outputs, geometry, true)?;
            mask_layers.push((conv, layer.layer_norm("layer_norm", outputs, EPSILON)?));
            inputs = outputs;
        }
        let block = |index: usize| -> Result<FuserBlock> {
            let block = loader.at(format!("memory_fuser.layers.{index}"));
            let geometry = Conv2dGeometry::same(FUSER_KERNEL).depthwise(channels);
            let names = ["pointwise_conv1", "pointwise_conv2"];
            Ok(FuserBlock {
                depthwise: block.conv2d("depthwise_conv", channels, channels, geometry, true)?,
                norm: block.layer_norm("layer_norm", channels, EPSILON)?,
                mlp: Mlp::load_scaled(&block, names, "scale", channels, fuser_hidden, Activation::Gelu)?,
            })
        };
        Ok(Self {
            mask_layers,
            mask_out: masks.pointwise("final_conv", inputs, channels, true)?,
            image: loader.pointwise("feature_projection", channels, channels, true)?,
            fuser: (0..fuser_depth).map(block).collect::<Result<_>>()?,
            out: loader.pointwise("projection", channels, memory_channels, true)?,
        })
    }

    /// What all objects on an image `[1, h, w, channels]` have in common.
    pub(crate) fn project(&self, device: &Device, image: &Tensor) -> Result<Tensor> {
        Ok(device.linear(image, &self.image, &Epilogue::NONE)?)
    }

    /// A projected image and a mask `[1, stride · h, stride · w, 1]` to a memory `[1, h, w, memory channels]`.
    pub(crate) fn forward(&self, device: &Device, image: &Tensor, mask: Tensor) -> Result<Tensor> {
        let mut x = mask;
        for (conv, norm) in &self.mask_layers {
            x = device.conv2d(&x, conv, &Epilogue::NONE)?;
            x = device.layer_norm(&x, norm, Activation::Gelu)?;
        }
        x = device.linear(&x, &self.mask_out, &Epilogue::add(image))?;
        for FuserBlock { depthwise, norm, mlp } in &self.fuser {
            let y = device.conv2d(&x, depthwise, &Epilogue::NONE)?;
            let y = device.layer_norm(&y, norm, Activation::Identity)?;
            x = mlp.forward(device, y, &x)?;
        }
        Ok(device.linear(&x, &self.out, &Epilogue::NONE)?)
    }
}
