//! nano: samovar's own small model. A MobileNetV2 trunk, two layers of global attention, a feature pyramid, and the
//! shared decoder with finer maps added. `training/ARCHITECTURE.md` states it to the last constant.

use samovar_tensor::{
    Activation, Conv2d, Conv2dGeometry, Device, Epilogue, LayerNorm, Linear, ResizeMode, Tensor,
};

use super::nano_json::NanoConfig;
use super::prompted::{self, Encoder, Wiring};
use crate::blocks::loader::Loader;
use crate::blocks::mobile_net::{MobileNet, MobileNetConfig};
use crate::blocks::vit_block::{Block, BlockConfig};
use crate::capabilities::Capabilities;
use crate::error::{Error, Result};
use crate::interface::{ImageFeatures, Preprocessing};

pub(crate) fn load(
    loader: &Loader,
    config: &NanoConfig,
    preprocessing: Preprocessing,
) -> Result<Capabilities> {
    let (prompt, decoder) = (&config.prompt(), &config.decoder());
    let wiring = Wiring { preprocessing, prompt, decoder, recommendations: config.recommendations() };
    prompted::load(loader, wiring, |vision, positions| {
        Ok(Box::new(NanoEncoder::load(vision, config, positions)?))
    })
}

struct NanoEncoder {
    trunk: MobileNet,
    neck_proj: Linear,
    neck_norm: LayerNorm,
    /// Added to the tokens of the image, `[1, h·w, C]`.
    positions: Tensor,
    layers: Vec<Block>,
    out_norm: LayerNorm,
    lateral_8: Linear,
    top_8: Linear,
    norm_8: LayerNorm,
    smooth_8: Conv2d,
    lateral_4: Linear,
    lateral_2: Conv2d,
    top_4: Linear,
    norm_4: LayerNorm,
    smooth_4: Conv2d,
}

impl NanoEncoder {
    fn load(loader: &Loader, config: &NanoConfig, positions: &Tensor) -> Result<Self> {
        let blocks = config.trunk_blocks();
        let tapped: Vec<usize> = config.taps.iter().map(|&tap| blocks[tap].outputs).collect();
        let (channels, epsilon) = (config.embed_dim, config.layer_norm_eps);
        let (fine_8, fine_4) = (config.fpn_dim_8, config.fpn_dim_4);
        let trunk =
            MobileNetConfig { stem_channels: config.stem_channels, blocks, taps: config.taps.clone() };
        let smooth = Conv2dGeometry::same(3);
        let block = BlockConfig {
            channels,
            heads: config.vit_heads,
            mlp_channels: config.vit_mlp_dim,
            epsilon,
            qkv_bias: true,
            window: None,
            pooled_from: None,
            relative_side: None,
        };
        let layer = |i| Block::load(&loader.at(format!("layers.{i}")), block);
        Ok(Self {
            // Inverted residuals are narrow where they are added and uneven where they are wide: in int8 they make nearly
            // all of the error, and shallow as they are they gain little.
            trunk: MobileNet::load(&loader.at("trunk").exact(), &trunk)?,
            neck_proj: loader.pointwise("neck_proj", tapped[3], channels, true)?,
            neck_norm: loader.layer_norm("neck_norm", channels, epsilon)?,
            positions: positions.clone(),
            layers: (0..config.vit_depth).map(layer).collect::<Result<_>>()?,
            out_norm: loader.layer_norm("out_norm", channels, epsilon)?,
            lateral_8: loader.pointwise("lateral_8", tapped[2], fine_8, true)?,
            top_8: loader.pointwise("top_8", channels, fine_8, true)?,
            norm_8: loader.layer_norm("norm_8", fine_8, epsilon)?,
            smooth_8: loader.conv2d("smooth_8", fine_8, fine_8, smooth, true)?,
            lateral_4: loader.pointwise("lateral_4", tapped[1], fine_4, true)?,
            lateral_2: loader.conv2d("lateral_2", tapped[0], fine_4, smooth.stride(2), true)?,
            top_4: loader.pointwise("top_4", fine_8, fine_4, true)?,
            norm_4: loader.layer_norm("norm_4", fine_4, epsilon)?,
            smooth_4: loader.conv2d("smooth_4", fine_4, fine_4, smooth, true)?,
        })
    }
}

impl Encoder for NanoEncoder {
    fn forward(&self, device: &Device, pixels: &Tensor) -> Result<ImageFeatures> {
        let tapped = self.trunk.forward(device, pixels)?;
        let [s2, s4, s8, s16] = &tapped[..] else {
            return Err(Error::Config("nano: not four taps".into()));
        };
        let mut x = device.linear(s16, &self.neck_proj, &Epilogue::NONE)?;
        x = device.layer_norm(&x, &self.neck_norm, Activation::Identity)?;
        x = device.add(&x, &self.positions)?;
        for layer in &self.layers {
            x = layer.forward(device, x)?;
        }
        let embedding = device.layer_norm(&x, &self.out_norm, Activation::Identity)?;

        let top = double(device, &device.linear(&embedding, &self.top_8, &Epilogue::NONE)?)?;
        let p8 = device.linear(s8, &self.lateral_8, &Epilogue::add(&top))?;
        let p8 = device.layer_norm(&p8, &self.norm_8, Activation::Gelu)?;
        let high_res_8 = device.conv2d(&p8, &self.smooth_8, &Epilogue::NONE)?;

        let top = double(device, &device.linear(&high_res_8, &self.top_4, &Epilogue::NONE)?)?;
        let side = device.conv2d(s2, &self.lateral_2, &Epilogue::add(&top))?;
        let p4 = device.linear(s4, &self.lateral_4, &Epilogue::add(&side))?;
        let p4 = device.layer_norm(&p4, &self.norm_4, Activation::Gelu)?;
        let high_res_4 = device.conv2d(&p4, &self.smooth_4, &Epilogue::NONE)?;
        Ok(ImageFeatures {
            embedding,
            high_res: vec![high_res_8, high_res_4],
            hq: None,
            is_conditioned: false,
        })
    }
}

fn double(device: &Device, x: &Tensor) -> Result<Tensor> {
    let [_, height, width, _] = x.shape().fixed("nano")?;
    Ok(device.resize(x, 2 * height, 2 * width, ResizeMode::Bilinear)?)
}
