//! Model families: their numbers, and how the blocks are wired.

pub(crate) mod mobile_sam;
pub(crate) mod nano;
pub(crate) mod nano_json;
pub(crate) mod original;
pub(crate) mod sam1;
pub(crate) mod sam1_json;

use samovar_tensor::{Activation, Device, Tensor};

use crate::Result;
use crate::blocks::loader::Loader;
use crate::blocks::mask_decoder::{MaskDecoder, MaskDecoderConfig};
use crate::blocks::prompt_encoder::{DensePrompt, PromptEncoder, PromptEncoderConfig};
use crate::blocks::two_way::TwoWayConfig;
use crate::model::{ImageFeatures, Preprocessing};

/// An image encoder: all that the families do not share.
pub(crate) trait ImageEncoder: Send + Sync {
    /// Pixels `[B, S, S, 3]` to features.
    fn encode(&self, device: &Device, pixels: &Tensor) -> Result<ImageFeatures>;
}

/// What a family is wired to.
pub(crate) struct Parts {
    pub(crate) preprocessing: Preprocessing,
    pub(crate) encoder: Box<dyn ImageEncoder>,
    pub(crate) prompt_encoder: PromptEncoder,
    pub(crate) mask_decoder: MaskDecoder,
}

impl Parts {
    pub(crate) fn load(
        loader: &Loader,
        preprocessing: Preprocessing,
        prompt: &PromptEncoderConfig,
        decoder: &MaskDecoderConfig,
        encoder: impl FnOnce(&Loader, &Tensor) -> Result<Box<dyn ImageEncoder>>,
    ) -> Result<Self> {
        // The decoder runs in milliseconds, and its logits are the result.
        let exact = loader.exact();
        let prompt_encoder = PromptEncoder::load(&exact, prompt)?;
        let positions = prompt_encoder.image_positions(&loader.device.stage("load"))?;
        Ok(Self {
            preprocessing,
            encoder: encoder(&loader.at("vision_encoder"), &positions)?,
            mask_decoder: MaskDecoder::load(&exact.at("mask_decoder"), decoder, &positions)?,
            prompt_encoder,
        })
    }
}

/// ImageNet's mean and deviation, on which SAM's encoders were trained.
pub(crate) const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
pub(crate) const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Prompt encoder of SAM and MobileSAM.
pub(crate) fn sam_prompt_encoder(image_size: usize, grid: usize) -> PromptEncoderConfig {
    PromptEncoderConfig {
        channels: 256,
        image_size,
        grid,
        mask_channels: [4, 16],
        epsilon: 1e-6,
        dense: DensePrompt::Mask,
    }
}

/// Mask decoder of SAM and MobileSAM.
pub(crate) fn sam_mask_decoder() -> MaskDecoderConfig {
    MaskDecoderConfig {
        transformer: TwoWayConfig {
            channels: 256,
            depth: 2,
            heads: 8,
            cross_channels: 128,
            mlp_channels: 2048,
            // transformers has 1e-6 where the original has PyTorch's default, 1e-5; see `original`.
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
        detail: None,
    }
}
