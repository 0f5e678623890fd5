//! MobileNetV2's inverted residuals with folded batch norms, tapped at several strides.

use samovar_tensor::{Activation, Conv2d, Conv2dGeometry, Device, Epilogue, Linear, Tensor};

use super::loader::Loader;
use crate::error::Result;

/// Dimensions of a [`MobileNet`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MobileNetConfig {
    pub(crate) stem_channels: usize,
    pub(crate) blocks: Vec<InvertedResidual>,
    /// Blocks whose results are used, in order.
    pub(crate) taps: Vec<usize>,
}

/// Dimensions of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvertedResidual {
    pub(crate) inputs: usize,
    pub(crate) hidden: usize,
    pub(crate) outputs: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
}

pub(crate) struct MobileNet {
    stem: Conv2d,
    blocks: Vec<Block>,
    taps: Vec<usize>,
}

struct Block {
    /// Absent when the block does not widen its input.
    expand: Option<Linear>,
    depthwise: Conv2d,
    project: Linear,
    residual: bool,
}

impl MobileNet {
    pub(crate) fn load(loader: &Loader, config: &MobileNetConfig) -> Result<Self> {
        let stem = Conv2dGeometry::same(3).stride(2);
        let blocks = config.blocks.iter().enumerate();
        let blocks = blocks.map(|(i, block)| Block::load(&loader.at(format!("blocks.{i}")), *block));
        Ok(Self {
            stem: loader.conv2d("stem", 3, config.stem_channels, stem, true)?,
            blocks: blocks.collect::<Result<_>>()?,
            taps: config.taps.clone(),
        })
    }

    /// Pixels `[B, S, S, 3]` to the maps of the taps, fine to coarse.
    pub(crate) fn forward(&self, device: &Device, pixels: &Tensor) -> Result<Vec<Tensor>> {
        let mut x = device.conv2d(pixels, &self.stem, &Epilogue::act(Activation::Relu6))?;
        let mut tapped = Vec::with_capacity(self.taps.len());
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(device, x)?;
            if self.taps.contains(&i) {
                tapped.push(x.clone());
            }
        }
        Ok(tapped)
    }
}

impl Block {
    fn load(loader: &Loader, config: InvertedResidual) -> Result<Self> {
        let InvertedResidual { inputs, hidden, outputs, stride, dilation } = config;
        let expand = (hidden != inputs).then(|| loader.pointwise("expand", inputs, hidden, true));
        let depthwise = Conv2dGeometry::same(3).dilated(dilation).stride(stride).depthwise(hidden);
        Ok(Self {
            expand: expand.transpose()?,
            depthwise: loader.conv2d("depthwise", hidden, hidden, depthwise, true)?,
            project: loader.pointwise("project", hidden, outputs, true)?,
            residual: stride == 1 && inputs == outputs,
        })
    }

    fn forward(&self, device: &Device, x: Tensor) -> Result<Tensor> {
        let relu6 = Epilogue::act(Activation::Relu6);
        let mut y = match &self.expand {
            Some(expand) => device.linear(&x, expand, &relu6)?,
            None => x.clone(),
        };
        y = device.conv2d(&y, &self.depthwise, &relu6)?;
        let residual = if self.residual { Epilogue::add(&x) } else { Epilogue::NONE };
        Ok(device.linear(&y, &self.project, &residual)?)
    }
}
