//! SAM's neck: 1 x 1 convolution, norm, 3 x 3 convolution, norm; from the encoder's channels to the decoder's.

use samovar_tensor::{Activation, Conv2d, Conv2dGeometry, Device, Epilogue, LayerNorm, Linear, Tensor};

use super::loader::Loader;
use crate::error::Result;

/// Fixed in both upstreams, whatever their configuration says.
const EPSILON: f32 = 1e-6;

pub(crate) struct Neck {
    conv1: Linear,
    layer_norm1: LayerNorm,
    conv2: Conv2d,
    layer_norm2: LayerNorm,
}

impl Neck {
    pub(crate) fn load(loader: &Loader, inputs: usize, outputs: usize) -> Result<Self> {
        Ok(Self {
            conv1: loader.pointwise("conv1", inputs, outputs, false)?,
            layer_norm1: loader.layer_norm("layer_norm1", outputs, EPSILON)?,
            conv2: loader.conv2d("conv2", outputs, outputs, Conv2dGeometry::same(3), false)?,
            layer_norm2: loader.layer_norm("layer_norm2", outputs, EPSILON)?,
        })
    }

    /// `[B, h, w, inputs]` to `[B, h, w, outputs]`.
    pub(crate) fn forward(&self, device: &Device, x: &Tensor) -> Result<Tensor> {
        let mut x = device.linear(x, &self.conv1, &Epilogue::NONE)?;
        x = device.layer_norm(&x, &self.layer_norm1, Activation::Identity)?;
        x = device.conv2d(&x, &self.conv2, &Epilogue::NONE)?;
        Ok(device.layer_norm(&x, &self.layer_norm2, Activation::Identity)?)
    }
}
