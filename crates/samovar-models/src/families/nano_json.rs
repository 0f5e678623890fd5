//! nano's numbers: the JSON object in its file, and the configurations of the blocks that follow from it.

use samovar_geometry::{ResizeRule, Size};
use samovar_tensor::Activation;
use serde::Deserialize;

use crate::blocks::mask_decoder::{HighResConfig, MaskDecoderConfig};
use crate::blocks::mobile_net::InvertedResidual;
use crate::blocks::prompt_encoder::{DensePrompt, PromptEncoderConfig};
use crate::blocks::prompt_map::PromptMap;
use crate::blocks::two_way::TwoWayConfig;
use crate::error::{Error, Result};
use crate::interface::{EverythingThresholds, MaskChoice, MaskRule, Preprocessing, Recommendations};
use crate::limits::{MAX_CHANNELS, MAX_DEPTH, MAX_INPUT_SIDE, at_most};

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
            image_size: 384,
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
        at_most("image_size", self.image_size, MAX_INPUT_SIDE)?;
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
        channels.iter().try_for_each(|&channels| at_most("channels", channels, MAX_CHANNELS))?;
        let counts = [self.vit_depth.max(1), self.decoder_depth];
        counts.iter().try_for_each(|&count| at_most("depth", count, MAX_DEPTH))?;
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
        self.prompt().check(self.embed_dim)?;
        self.decoder().check(self.embed_dim)?;
        self.check_trunk()
    }

    fn check_trunk(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::Config(format!("nano: {what}")));
        for &[expansion, channels, repeats, stride, first_dilation, dilation] in &self.trunk {
            at_most("trunk channels", channels.saturating_mul(expansion), MAX_CHANNELS)?;
            at_most("trunk repeats", repeats, MAX_DEPTH)?;
            if expansion == 0
                || !(1..=2).contains(&stride)
                || [first_dilation, dilation].iter().any(|d| !(1..=8).contains(d))
            {
                return refuse(format!(
                    "trunk row with expansion {expansion}, stride {stride}, dilation {dilation}"
                ));
            }
        }
        at_most("trunk rows", self.trunk.len(), MAX_DEPTH)?;
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

    pub(crate) fn trunk_blocks(&self) -> Vec<InvertedResidual> {
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

    /// The same model on another input square: nothing learned depends on its size.
    pub(crate) fn with_image_size(self, image_size: usize) -> Result<Self> {
        let config = Self { image_size, ..self };
        config.check()?;
        Ok(config)
    }

    pub(crate) fn preprocessing(&self) -> Preprocessing {
        Preprocessing {
            resize: ResizeRule::LongestSide { target: self.image_size as u32 },
            mean: self.pixel_mean.map(|mean| mean / 255.0),
            std: self.pixel_std.map(|std| std / 255.0),
        }
    }

    /// nano's masks have many stray parts and pinholes. Its logits are flatter than SAM's and its predicted IoU is a chance,
    /// seldom over 0.75, so upstream's thresholds would keep one mask in ten pictures. With these it finds, on every fourth
    /// picture of its dev set, 26 masks per picture, among them 52 % of the known ones (IoU over 0.5); of its masks on
    /// pictures in which everything is known, 77 % are right. Half the points per side cost a quarter of the time; nano's map
    /// has 24 cells across. The runtime's `examples/everything.rs` prints the whole table.
    pub(crate) fn recommendations(&self) -> Recommendations {
        Recommendations {
            mask_rule: self.mask_rule,
            best_first: false,
            cleanup: true,
            everything: EverythingThresholds {
                points_per_side: 16,
                pred_iou_thresh: 0.6,
                stability_score_thresh: 0.85,
                stability_score_offset: 0.3,
            },
        }
    }

    pub(crate) fn prompt(&self) -> PromptEncoderConfig {
        PromptEncoderConfig {
            channels: self.embed_dim,
            input: Size::square(self.image_size as u32),
            embedding: [self.image_size / self.patch_size; 2],
            mask_channels: self.dense_mid_channels,
            epsilon: self.layer_norm_eps,
            dense: DensePrompt::Map(PromptMap { click_sigma: self.click_sigma, mask_clamp: self.mask_clamp }),
            pads_boxes: false,
            no_memory: false,
        }
    }

    pub(crate) fn decoder(&self) -> MaskDecoderConfig {
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
            object_score: None,
            high_res: Some(HighResConfig {
                prompt_map: true,
                refine_blocks: [self.refine_blocks_8, self.refine_blocks_4],
                refine_kernel: self.refine_kernel,
            }),
            hq_early_channels: None,
        }
    }
}

#[cfg(test)]
#[path = "nano_json_tests.rs"]
mod tests;
