//! What SAM's relatives share beside their encoders: its prompt encoder and mask decoder, and what its authors recommend.

use samovar_geometry::Size;
use samovar_tensor::Activation;

use crate::blocks::hq::HqFeatures;
use crate::blocks::loader::Loader;
use crate::blocks::mask_decoder::MaskDecoderConfig;
use crate::blocks::prompt_encoder::{DensePrompt, PromptEncoderConfig};
use crate::blocks::two_way::TwoWayConfig;
use crate::error::{Error, Result};
use crate::interface::{EverythingThresholds, MaskChoice, MaskRule, Recommendations};

/// ImageNet's mean and deviation, on which SAM's encoders were trained.
pub(crate) const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
pub(crate) const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// SAM's own: three masks for one click, and the thresholds of `SamAutomaticMaskGenerator`.
pub(crate) const RECOMMENDATIONS: Recommendations = Recommendations {
    mask_rule: MaskRule { one_click: MaskChoice::BestOfMultimask, otherwise: MaskChoice::Single },
    best_first: false,
    cleanup: false,
    everything: EverythingThresholds {
        points_per_side: 32,
        pred_iou_thresh: 0.88,
        stability_score_thresh: 0.95,
        stability_score_offset: 1.0,
    },
};

/// SAM-HQ's: of the masks of a click its code draws the best one alone.
pub(crate) const HQ_RECOMMENDATIONS: Recommendations =
    Recommendations { best_first: true, ..RECOMMENDATIONS };

/// What the authors of a model with this decoder recommend.
pub(crate) fn recommendations(decoder: &MaskDecoderConfig) -> Recommendations {
    if decoder.hq_early_channels.is_some() { HQ_RECOMMENDATIONS } else { RECOMMENDATIONS }
}

/// Checks that the encoder has the early map that SAM-HQ's decoder reads; `early_channels` are its channels.
pub(crate) fn check_hq(decoder: &MaskDecoderConfig, early_channels: Option<usize>) -> Result<()> {
    match (decoder.hq_early_channels, early_channels) {
        (Some(_), None) => {
            let what = "SAM-HQ reads the map behind the first global block (of TinyViT, before the third stage), and \
                        the encoder has none";
            Err(Error::Config(what.into()))
        }
        (Some(read), Some(made)) if read != made => Err(Error::Config(format!(
            "a SAM-HQ decoder for an encoder of {read} channels (vit_dim); it has {made}"
        ))),
        _ => Ok(()),
    }
}

/// What SAM-HQ sees in an image, for a decoder that asks for it.
pub(crate) fn load_hq_features(loader: &Loader, decoder: &MaskDecoderConfig) -> Result<Option<HqFeatures>> {
    // Exact as the rest of the decoder, to whose map it is added.
    let loader = loader.exact().at("mask_decoder");
    decoder.hq().map(|hq| HqFeatures::load(&loader, hq)).transpose()
}

/// Prompt encoder of SAM and MobileSAM, for a square input of `image_size` and an embedding of `grid` x `grid`.
pub(crate) fn prompt_encoder(image_size: usize, grid: usize) -> PromptEncoderConfig {
    PromptEncoderConfig {
        channels: 256,
        input: Size::square(u32::try_from(image_size).unwrap_or(u32::MAX)),
        embedding: [grid; 2],
        mask_channels: [4, 16],
        epsilon: 1e-6,
        dense: DensePrompt::Mask,
        pads_boxes: false,
        no_memory: false,
    }
}

/// The same with another epsilon in the norms of the two-way transformer.
pub(crate) fn mask_decoder_with(two_way_epsilon: f32) -> MaskDecoderConfig {
    let mut config = mask_decoder();
    config.transformer.epsilon = two_way_epsilon;
    config
}

/// Mask decoder of SAM and MobileSAM.
pub(crate) fn mask_decoder() -> MaskDecoderConfig {
    MaskDecoderConfig {
        transformer: TwoWayConfig {
            channels: 256,
            depth: 2,
            heads: 8,
            cross_channels: 128,
            mlp_channels: 2048,
            // transformers has 1e-6 where the original has PyTorch's default, 1e-5; see `sam_checkpoint`.
            epsilon: 1e-6,
            final_epsilon: 1e-5,
        },
        multimask_outputs: 3,
        upscale_channels: [64, 32],
        upscale_epsilon: 1e-6,
        upscale_activation: Activation::Gelu,
        iou_depth: 3,
        iou_hidden: 256,
        iou_activation: Activation::Identity,
        object_score: None,
        high_res: None,
        hq_early_channels: None,
    }
}
