//! MobileSAM: TinyViT-5M in front of SAM's own decoder.

use samovar_tensor::{Device, Tensor};

use super::{IMAGENET_MEAN, IMAGENET_STD, ImageEncoder, Parts, sam_mask_decoder, sam_prompt_encoder};
use crate::Result;
use crate::blocks::loader::Loader;
use crate::blocks::mask_decoder::MaskDecoderConfig;
use crate::blocks::prompt_encoder::PromptEncoderConfig;
use crate::blocks::tiny_vit::{Stage, TinyVit, TinyVitConfig};
use crate::model::{ImageFeatures, Preprocessing};

/// All numbers of a MobileSAM.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MobileSamConfig {
    pub(crate) tiny_vit: TinyVitConfig,
    pub(crate) prompt: PromptEncoderConfig,
    pub(crate) decoder: MaskDecoderConfig,
}

/// Side of the input square; no tensor of a checkpoint tells it.
pub(crate) const IMAGE_SIZE: usize = 1024;

impl MobileSamConfig {
    pub(crate) fn published() -> Self {
        let stage =
            |channels, depth, heads, window| Stage { channels, depth, hidden: 4 * channels, heads, window };
        let tiny_vit = TinyVitConfig {
            image_size: IMAGE_SIZE,
            stages: vec![stage(64, 2, 2, 7), stage(128, 2, 4, 7), stage(160, 6, 5, 14), stage(320, 2, 10, 7)],
            output_channels: 256,
            epsilon: 1e-5,
        };
        let prompt = sam_prompt_encoder(IMAGE_SIZE, tiny_vit.grid());
        let mut decoder = sam_mask_decoder();
        decoder.transformer.epsilon = 1e-5;
        Self { tiny_vit, prompt, decoder }
    }

    /// The same model on another input square: nothing learned depends on its size.
    pub(crate) fn with_image_size(mut self, image_size: usize) -> Self {
        self.tiny_vit.image_size = image_size;
        self.prompt.image_size = image_size;
        self.prompt.grid = self.tiny_vit.grid();
        self
    }
}

struct Encoder(TinyVit);

impl ImageEncoder for Encoder {
    fn encode(&self, device: &Device, pixels: &Tensor) -> Result<ImageFeatures> {
        Ok(ImageFeatures { embedding: self.0.forward(device, pixels)?, high_res: Vec::new() })
    }
}

pub(crate) fn load(loader: &Loader, config: &MobileSamConfig) -> Result<Parts> {
    let preprocessing =
        Preprocessing { input_size: config.tiny_vit.image_size, mean: IMAGENET_MEAN, std: IMAGENET_STD };
    Parts::load(loader, preprocessing, &config.prompt, &config.decoder, |vision, _| {
        Ok(Box::new(Encoder(TinyVit::load(vision, &config.tiny_vit)?)))
    })
}
