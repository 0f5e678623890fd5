//! A family with SAM's wiring: an image encoder of its own, then the shared prompt encoder and mask decoder.

use std::sync::Arc;

use samovar_geometry::{Grid, Input, Size};
use samovar_tensor::{Device, Tensor};

use crate::blocks::loader::Loader;
use crate::blocks::mask_decoder::{MaskDecoder, MaskDecoderConfig};
use crate::blocks::prompt_encoder::{PromptEncoder, PromptEncoderConfig};
use crate::capabilities::Capabilities;
use crate::error::Result;
use crate::interface::{
    Capability, ImageEncoder, ImageFeatures, Preprocessing, PromptBatch, PromptableSegmenter,
    Recommendations, ScoredPrompts,
};

/// What such a family can do.
pub(crate) const CAPABILITIES: &[Capability] = &[Capability::ImageEncoder, Capability::PromptableSegmenter];

/// The part of an image encoder that a family writes: the layers.
pub(crate) trait Encoder: Send + Sync {
    /// Pixels `[B, height, width, 3]`, which have been checked, to features.
    fn forward(&self, device: &Device, pixels: &Tensor) -> Result<ImageFeatures>;
}

/// What a family states to be wired.
pub(crate) struct Wiring<'a> {
    pub(crate) preprocessing: Preprocessing,
    pub(crate) prompt: &'a PromptEncoderConfig,
    pub(crate) decoder: &'a MaskDecoderConfig,
    pub(crate) recommendations: Recommendations,
}

/// Loads such a family. `encoder` gets the weights below `vision_encoder` and the positions of the image's tokens,
/// `[1, h·w, C]`.
pub(crate) fn load(
    loader: &Loader,
    wiring: Wiring,
    encoder: impl FnOnce(&Loader, &Tensor) -> Result<Box<dyn Encoder>>,
) -> Result<Capabilities> {
    let Wiring { preprocessing, prompt, decoder, recommendations } = wiring;
    // The decoder runs in milliseconds, and its logits are the result.
    let exact = loader.exact();
    let prompt_encoder = PromptEncoder::load(&exact, prompt)?;
    let positions = prompt_encoder.image_positions(&loader.device.stage("load"))?;
    let mut capabilities = Capabilities::default();
    if loader.parts.image_encoder {
        let layers = encoder(&loader.at("vision_encoder"), &positions)?;
        capabilities.image_encoder = Some(Arc::new(PromptedEncoder { preprocessing, layers }));
    }
    if loader.parts.promptable_segmenter {
        let mask_decoder = MaskDecoder::load(&exact.at("mask_decoder"), decoder, &positions)?;
        capabilities.promptable_segmenter =
            Some(Arc::new(Segmenter { prompt_encoder, mask_decoder, recommendations }));
    }
    Ok(capabilities)
}

struct PromptedEncoder {
    preprocessing: Preprocessing,
    layers: Box<dyn Encoder>,
}

impl ImageEncoder for PromptedEncoder {
    fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    fn encode(&self, device: &Device, pixels: &Tensor) -> Result<ImageFeatures> {
        self.preprocessing.check_pixels(pixels)?;
        self.layers.forward(&device.stage("encoder"), pixels)
    }
}

/// Prompt encoder and mask decoder.
struct Segmenter {
    prompt_encoder: PromptEncoder,
    mask_decoder: MaskDecoder,
    recommendations: Recommendations,
}

impl PromptableSegmenter for Segmenter {
    fn input_size(&self) -> Size<Input> {
        self.prompt_encoder.input()
    }

    fn grid_size(&self) -> Size<Grid> {
        self.prompt_encoder.grid()
    }

    fn recommendations(&self) -> Recommendations {
        self.recommendations
    }

    fn decoder_embedding(&self, device: &Device, features: &ImageFeatures) -> Result<Tensor> {
        self.prompt_encoder.remembered(&device.stage("decoder"), features)
    }

    fn pads_masks_in_transformers(&self) -> bool {
        self.prompt_encoder.pads_boxes()
    }

    fn score(
        &self,
        device: &Device,
        features: &ImageFeatures,
        prompts: &PromptBatch,
    ) -> Result<ScoredPrompts> {
        let device = &device.stage("decoder");
        let encoded = self.prompt_encoder.encode(device, features, prompts)?;
        self.mask_decoder.score(device, encoded, prompts.prompts, prompts.output)
    }

    fn draw(&self, device: &Device, features: &ImageFeatures, scored: ScoredPrompts) -> Result<Tensor> {
        self.prompt_encoder.check_embedding(&features.embedding, scored.prompts())?;
        self.mask_decoder.draw(&device.stage("decoder"), features, scored)
    }

    fn draw_chosen(
        &self,
        device: &Device,
        features: &ImageFeatures,
        scored: &ScoredPrompts,
        chosen: &[(usize, usize)],
    ) -> Result<Tensor> {
        self.prompt_encoder.check_embedding(&features.embedding, scored.prompts())?;
        self.mask_decoder.draw_chosen(&device.stage("decoder"), features, scored, chosen)
    }
}

#[cfg(test)]
#[path = "prompted_tests.rs"]
mod tests;
