//! nano: samovar's own small model. A MobileNetV2 trunk, two layers of global attention, a feature pyramid, and the
//! shared decoder with finer maps added. `training/ARCHITECTURE.md` states it to the last constant.

use samovar_tensor::{
    Activation, Attention, AttentionBias, Conv2d, Conv2dGeometry, Device, Epilogue, LayerNorm, Linear,
    ResizeMode, Rows, Tensor, TokenLayout,
};
use serde::Deserialize;

use super::{ImageEncoder, Parts};
use crate::blocks::loader::Loader;
use crate::blocks::mask_decoder::{DetailConfig, MaskDecoderConfig};
use crate::blocks::mlp::Mlp;
use crate::blocks::mobile_net::{InvertedResidual, MobileNet, MobileNetConfig};
use crate::blocks::prompt_encoder::{DensePrompt, PromptEncoderConfig};
use crate::blocks::two_way::TwoWayConfig;
use crate::config::{Limits, at_most};
use crate::model::{ImageFeatures, MaskChoice, MaskRule, Preprocessing};
use crate::prompt_map::PromptMap;
use crate::{Error, Result};

/// The JSON object under the file's metadata key `samovar_config`; the defaults are the shipped model's numbers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct NanoConfig {
    pub(crate) model_type: String,
    pub(crate) image_size: usize,
    pub(crate) patch_size: usize,
    pub(crate) stem_channels: usize,
    /// Rows of expansion, channels, repeats, stride of the first, dilation of the first, dilation of the rest.
    pub(crate) trunk: Vec<[usize; 6]>,
    pub(crate) taps: Vec<usize>,
    pub(crate) embed_dim: usize,
    pub(crate) vit_depth: usize,
    pub(crate) vit_heads: usize,
    pub(crate) vit_mlp_dim: usize,
    pub(crate) fpn_dim_8: usize,
    pub(crate) fpn_dim_4: usize,
    pub(crate) dense_mid_channels: [usize; 2],
    pub(crate) decoder_depth: usize,
    pub(crate) decoder_heads: usize,
    pub(crate) attention_downsample_rate: usize,
    pub(crate) decoder_mlp_dim: usize,
    pub(crate) iou_head_hidden_dim: usize,
    pub(crate) num_multimask_outputs: usize,
    pub(crate) refine_blocks_8: usize,
    pub(crate) refine_blocks_4: usize,
    pub(crate) refine_kernel: usize,
    pub(crate) layer_norm_eps: f32,
    pub(crate) click_sigma: f32,
    pub(crate) mask_clamp: f32,
    pub(crate) pixel_mean: [f32; 3],
    pub(crate) pixel_std: [f32; 3],
    pub(crate) mask_rule: MaskRule,
}

impl Default for NanoConfig {
    fn default() -> Self {
        Self {
            model_type: "nano".into(),
            image_size: 512,
            patch_size: 16,
            stem_channels: 32,
            trunk: vec![
                [1, 16, 1, 1, 1, 1],
                [6, 24, 2, 2, 1, 1],
                [6, 32, 3, 2, 1, 1],
                [6, 64, 4, 2, 1, 1],
                [6, 96, 3, 1, 1, 1],
                [6, 160, 3, 1, 1, 2],
                [6, 320, 1, 1, 2, 2],
            ],
            taps: vec![0, 2, 5, 16],
            embed_dim: 128,
            vit_depth: 2,
            vit_heads: 4,
            vit_mlp_dim: 512,
            fpn_dim_8: 64,
            fpn_dim_4: 32,
            dense_mid_channels: [16, 64],
            decoder_depth: 2,
            decoder_heads: 4,
            attention_downsample_rate: 2,
            decoder_mlp_dim: 512,
            iou_head_hidden_dim: 128,
            num_multimask_outputs: 3,
            refine_blocks_8: 1,
            refine_blocks_4: 1,
            refine_kernel: 5,
            layer_norm_eps: 1e-6,
            click_sigma: 1.5,
            mask_clamp: 10.0,
            pixel_mean: [127.5; 3],
            pixel_std: [127.5; 3],
            mask_rule: MaskRule { one_click: MaskChoice::BestOfMultimask, otherwise: MaskChoice::Single },
        }
    }
}

/// Strides of the four taps; the decoder and the pyramid are built around them.
const TAP_STRIDES: [usize; 4] = [2, 4, 8, 16];

impl NanoConfig {
    pub(crate) fn from_json(json: &str) -> Result<Self> {
        let config: Self =
            serde_json::from_str(json).map_err(|error| Error::Config(format!("nano: {error}")))?;
        config.check()?;
        Ok(config)
    }

    /// Refuses numbers no such model has, before anything is computed from them.
    fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::Config(format!("nano: {what}")));
        at_most("image_size", self.image_size, Limits::IMAGE_SIZE)?;
        if self.patch_size != 16 || !self.image_size.is_multiple_of(32) {
            return refuse(format!("image size {} in patches of {}", self.image_size, self.patch_size));
        }
        let channels = [
            self.stem_channels,
            self.embed_dim,
            self.vit_mlp_dim,
            self.fpn_dim_8,
            self.fpn_dim_4,
            self.dense_mid_channels[0],
            self.dense_mid_channels[1],
            self.decoder_mlp_dim,
            self.iou_head_hidden_dim,
        ];
        channels.iter().try_for_each(|&channels| at_most("channels", channels, Limits::CHANNELS))?;
        let counts = [
            self.vit_depth.max(1),
            self.decoder_depth,
            self.refine_blocks_8.max(1),
            self.refine_blocks_4.max(1),
        ];
        counts.iter().try_for_each(|&count| at_most("depth", count, Limits::DEPTH))?;
        at_most("num_multimask_outputs", self.num_multimask_outputs, Limits::MASKS)?;
        at_most("refine_kernel", self.refine_kernel, Limits::KERNEL)?;
        let inner = self.embed_dim.checked_div(self.attention_downsample_rate).unwrap_or(0);
        let divides =
            |channels: usize, heads: usize| heads > 0 && channels > 0 && channels.is_multiple_of(heads);
        let fits = divides(self.embed_dim, self.vit_heads)
            && divides(self.embed_dim, self.attention_downsample_rate)
            && divides(inner, self.decoder_heads)
            && self.embed_dim.is_multiple_of(2);
        if !fits {
            return refuse(format!("heads do not divide {} channels", self.embed_dim));
        }
        if self.refine_kernel.is_multiple_of(2) {
            return refuse(format!("a kernel of {}", self.refine_kernel));
        }
        let positive = [
            self.layer_norm_eps,
            self.click_sigma,
            self.mask_clamp,
            self.pixel_std[0],
            self.pixel_std[1],
            self.pixel_std[2],
        ];
        if positive.iter().any(|value| !(value.is_finite() && *value > 0.0)) {
            return refuse("a constant that must be positive is not".into());
        }
        self.check_trunk()
    }

    fn check_trunk(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::Config(format!("nano: {what}")));
        for &[expansion, channels, repeats, stride, first_dilation, dilation] in &self.trunk {
            at_most("trunk channels", channels.saturating_mul(expansion), Limits::CHANNELS)?;
            at_most("trunk repeats", repeats, Limits::DEPTH)?;
            if expansion == 0
                || !(1..=2).contains(&stride)
                || [first_dilation, dilation].iter().any(|d| !(1..=8).contains(d))
            {
                return refuse(format!(
                    "trunk row with expansion {expansion}, stride {stride}, dilation {dilation}"
                ));
            }
        }
        at_most("trunk rows", self.trunk.len(), Limits::DEPTH)?;
        let blocks = self.trunk_blocks();
        let stride_after =
            |block: usize| 2 * blocks[..=block].iter().map(|block| block.stride).product::<usize>();
        let strides: Vec<usize> =
            self.taps.iter().filter(|&&tap| tap < blocks.len()).map(|&tap| stride_after(tap)).collect();
        if strides != TAP_STRIDES || !self.taps.is_sorted() || blocks.iter().any(|block| block.inputs == 0) {
            return refuse(format!("taps {:?} at strides {strides:?}, expected {TAP_STRIDES:?}", self.taps));
        }
        Ok(())
    }

    fn trunk_blocks(&self) -> Vec<InvertedResidual> {
        let mut inputs = self.stem_channels;
        let mut blocks = Vec::new();
        for &[expansion, outputs, repeats, stride, first_dilation, dilation] in &self.trunk {
            for i in 0..repeats {
                let (stride, dilation) = if i == 0 { (stride, first_dilation) } else { (1, dilation) };
                let hidden = inputs * expansion;
                blocks.push(InvertedResidual { inputs, hidden, outputs, stride, dilation });
                inputs = outputs;
            }
        }
        blocks
    }

    fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// The same model on another input square: nothing learned depends on its size.
    pub(crate) fn with_image_size(self, image_size: usize) -> Result<Self> {
        let config = Self { image_size, ..self };
        config.check()?;
        Ok(config)
    }

    fn prompt(&self) -> PromptEncoderConfig {
        PromptEncoderConfig {
            channels: self.embed_dim,
            image_size: self.image_size,
            grid: self.grid(),
            mask_channels: self.dense_mid_channels,
            epsilon: self.layer_norm_eps,
            dense: DensePrompt::Map(PromptMap { click_sigma: self.click_sigma, mask_clamp: self.mask_clamp }),
        }
    }

    fn decoder(&self) -> MaskDecoderConfig {
        MaskDecoderConfig {
            transformer: TwoWayConfig {
                channels: self.embed_dim,
                depth: self.decoder_depth,
                heads: self.decoder_heads,
                cross_channels: self.embed_dim / self.attention_downsample_rate,
                mlp_channels: self.decoder_mlp_dim,
                epsilon: self.layer_norm_eps,
                final_epsilon: self.layer_norm_eps,
            },
            multimask_outputs: self.num_multimask_outputs,
            upscale_channels: [self.fpn_dim_8, self.fpn_dim_4],
            upscale_epsilon: self.layer_norm_eps,
            upscale_activation: Activation::Relu,
            iou_depth: 3,
            iou_hidden: self.iou_head_hidden_dim,
            iou_activation: Activation::Sigmoid,
            detail: Some(DetailConfig {
                refine_blocks: [self.refine_blocks_8, self.refine_blocks_4],
                refine_kernel: self.refine_kernel,
            }),
        }
    }
}

pub(crate) fn load(loader: &Loader, config: &NanoConfig) -> Result<Parts> {
    let preprocessing = Preprocessing {
        input_size: config.image_size,
        mean: config.pixel_mean.map(|mean| mean / 255.0),
        std: config.pixel_std.map(|std| std / 255.0),
    };
    Parts::load(loader, preprocessing, &config.prompt(), &config.decoder(), |vision, positions| {
        Ok(Box::new(Encoder::load(vision, config, positions)?))
    })
}

struct Encoder {
    trunk: MobileNet,
    neck_proj: Linear,
    neck_norm: LayerNorm,
    /// Added to the tokens of the image, `[1, h·w, C]`.
    positions: Tensor,
    layers: Vec<Layer>,
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

impl Encoder {
    fn load(loader: &Loader, config: &NanoConfig, positions: &Tensor) -> Result<Self> {
        let blocks = config.trunk_blocks();
        let tapped: Vec<usize> = config.taps.iter().map(|&tap| blocks[tap].outputs).collect();
        let (channels, epsilon) = (config.embed_dim, config.layer_norm_eps);
        let (fine_8, fine_4) = (config.fpn_dim_8, config.fpn_dim_4);
        let trunk =
            MobileNetConfig { stem_channels: config.stem_channels, blocks, taps: config.taps.clone() };
        let smooth = Conv2dGeometry::same(3);
        let layer = |i| Layer::load(&loader.at(format!("layers.{i}")), config);
        Ok(Self {
            trunk: MobileNet::load(&loader.at("trunk"), &trunk)?,
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

impl ImageEncoder for Encoder {
    fn encode(&self, device: &Device, pixels: &Tensor) -> Result<ImageFeatures> {
        let tapped = self.trunk.forward(device, pixels)?;
        let [s2, s4, s8, s16] = &tapped[..] else {
            return Err(Error::Config("nano: not four taps".into()));
        };
        let x = device.linear(s16, &self.neck_proj, &Epilogue::NONE)?;
        let x = device.layer_norm(&x, &self.neck_norm, Activation::Identity)?;
        let mut x = device.add(&x, &self.positions)?;
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
        Ok(ImageFeatures { embedding, high_res: vec![high_res_8, high_res_4] })
    }
}

fn double(device: &Device, x: &Tensor) -> Result<Tensor> {
    let [_, height, width, _] = x.shape().fixed("nano")?;
    Ok(device.resize(x, 2 * height, 2 * width, ResizeMode::Bilinear)?)
}

/// A transformer layer with global attention.
struct Layer {
    layer_norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    layer_norm2: LayerNorm,
    mlp: Mlp,
    heads: usize,
}

impl Layer {
    fn load(loader: &Loader, config: &NanoConfig) -> Result<Self> {
        let (channels, epsilon) = (config.embed_dim, config.layer_norm_eps);
        Ok(Self {
            layer_norm1: loader.layer_norm("layer_norm1", channels, epsilon)?,
            qkv: loader.linear("attn.qkv", channels, 3 * channels)?,
            proj: loader.linear("attn.proj", channels, channels)?,
            layer_norm2: loader.layer_norm("layer_norm2", channels, epsilon)?,
            mlp: Mlp::load(
                &loader.at("mlp"),
                ["lin1", "lin2"],
                channels,
                config.vit_mlp_dim,
                Activation::Gelu,
            )?,
            heads: config.vit_heads,
        })
    }

    fn forward(&self, device: &Device, x: Tensor) -> Result<Tensor> {
        let [batch, height, width, channels] = x.shape().fixed("nano")?;
        let tokens = height * width;
        let normed = device.layer_norm(&x, &self.layer_norm1, Activation::Identity)?;
        let qkv = device.linear(&normed, &self.qkv, &Epilogue::NONE)?;
        let head_channels = channels / self.heads;
        let attended = device.attention(&Attention {
            q: Rows::columns(&qkv, 0),
            k: Rows::columns(&qkv, channels),
            v: Rows::columns(&qkv, 2 * channels),
            heads: self.heads,
            head_channels,
            value_channels: head_channels,
            scale: 1.0 / (head_channels as f32).sqrt(),
            layout: TokenLayout::Sequence { batch, key_batch: batch, queries: tokens, keys: tokens },
            bias: AttentionBias::None,
        })?;
        let x = device.linear(&attended, &self.proj, &Epilogue::add(&x))?;
        let normed = device.layer_norm(&x, &self.layer_norm2, Activation::Identity)?;
        self.mlp.forward(device, &normed, &x)
    }
}

#[cfg(test)]
#[path = "nano_tests.rs"]
mod tests;
