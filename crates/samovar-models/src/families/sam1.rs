//! Segment Anything: a ViT with windows and four global blocks, and the decoder everybody borrowed.

use samovar_tensor::{Device, Tensor};

use super::{IMAGENET_MEAN, IMAGENET_STD, ImageEncoder, Parts, sam_mask_decoder, sam_prompt_encoder};
use crate::Result;
use crate::blocks::loader::Loader;
use crate::blocks::mask_decoder::MaskDecoderConfig;
use crate::blocks::prompt_encoder::PromptEncoderConfig;
use crate::blocks::vit::{Vit, VitConfig};
use crate::model::{ImageFeatures, Preprocessing};

/// All numbers of a SAM.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SamConfig {
    pub(crate) vit: VitConfig,
    pub(crate) prompt: PromptEncoderConfig,
    pub(crate) decoder: MaskDecoderConfig,
}

impl SamConfig {
    pub(crate) fn vit_b() -> Self {
        Self::published(768, 12, 12, &[2, 5, 8, 11])
    }

    pub(crate) fn vit_l() -> Self {
        Self::published(1024, 24, 16, &[5, 11, 17, 23])
    }

    pub(crate) fn vit_h() -> Self {
        Self::published(1280, 32, 16, &[7, 15, 23, 31])
    }

    fn published(channels: usize, depth: usize, heads: usize, global_blocks: &[usize]) -> Self {
        let vit = VitConfig {
            image_size: 1024,
            patch_size: 16,
            channels,
            depth,
            heads,
            mlp_channels: 4 * channels,
            window: 14,
            global_blocks: global_blocks.to_vec(),
            output_channels: 256,
            epsilon: 1e-6,
            qkv_bias: true,
            absolute_positions: true,
            relative_positions: true,
        };
        let prompt = sam_prompt_encoder(vit.image_size, vit.grid());
        Self { vit, prompt, decoder: sam_mask_decoder() }
    }
}

struct Encoder(Vit);

impl ImageEncoder for Encoder {
    fn encode(&self, device: &Device, pixels: &Tensor) -> Result<ImageFeatures> {
        Ok(ImageFeatures { embedding: self.0.forward(device, pixels)?, high_res: Vec::new() })
    }
}

pub(crate) fn load(loader: &Loader, config: &SamConfig) -> Result<Parts> {
    let preprocessing =
        Preprocessing { input_size: config.vit.image_size, mean: IMAGENET_MEAN, std: IMAGENET_STD };
    Parts::load(loader, preprocessing, &config.prompt, &config.decoder, |vision, _| {
        Ok(Box::new(Encoder(Vit::load(vision, &config.vit)?)))
    })
}
