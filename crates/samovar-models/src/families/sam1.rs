//! Segment Anything: a ViT with windows and four global blocks, and the decoder everybody borrowed; and SAM-HQ, which adds
//! to it.

use samovar_geometry::ResizeRule;
use samovar_tensor::{Device, Tensor};

use super::prompted::{self, Encoder, Wiring};
use super::sam_heads::{self, IMAGENET_MEAN, IMAGENET_STD};
use crate::blocks::hq::HqFeatures;
use crate::blocks::loader::Loader;
use crate::blocks::mask_decoder::MaskDecoderConfig;
use crate::blocks::prompt_encoder::PromptEncoderConfig;
use crate::blocks::vit::{Vit, VitConfig};
use crate::capabilities::Capabilities;
use crate::error::{Error, Result};
use crate::interface::{ImageFeatures, Preprocessing};

/// All numbers of a SAM or SAM-HQ.
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

    /// The SAM-HQ with this encoder.
    pub(crate) fn hq(mut self) -> Self {
        self.decoder.hq_early_channels = Some(self.vit.channels);
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.vit.check()?;
        self.prompt.check(self.vit.output_channels)?;
        self.decoder.check(self.vit.output_channels)?;
        sam_heads::check_hq(&self.decoder, self.vit.first_global().map(|_| self.vit.channels))
    }

    pub(crate) fn preprocessing(&self) -> Preprocessing {
        let target = self.vit.image_size as u32;
        Preprocessing { resize: ResizeRule::LongestSide { target }, mean: IMAGENET_MEAN, std: IMAGENET_STD }
    }

    /// The same model, if that is its input square: its position tables fix it.
    pub(crate) fn with_image_size(self, image_size: usize) -> Result<Self> {
        let trained = self.vit.image_size;
        if trained == image_size {
            return Ok(self);
        }
        Err(Error::Config(format!("this SAM was trained for input squares of {trained}, not {image_size}")))
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
        let prompt = sam_heads::prompt_encoder(vit.image_size, vit.grid());
        Self { vit, prompt, decoder: sam_heads::mask_decoder() }
    }
}

struct VitEncoder {
    vit: Vit,
    hq: Option<HqFeatures>,
}

impl Encoder for VitEncoder {
    fn forward(&self, device: &Device, pixels: &Tensor) -> Result<ImageFeatures> {
        HqFeatures::encode(self.hq.as_ref(), device, |early| self.vit.forward(device, pixels, early))
    }
}

pub(crate) fn load(
    loader: &Loader,
    config: &SamConfig,
    preprocessing: Preprocessing,
) -> Result<Capabilities> {
    let SamConfig { vit, prompt, decoder } = config;
    let recommendations = sam_heads::recommendations(decoder);
    let wiring = Wiring { preprocessing, prompt, decoder, recommendations };
    prompted::load(loader, wiring, |vision, _| {
        let hq = sam_heads::load_hq_features(loader, decoder)?;
        Ok(Box::new(VitEncoder { vit: Vit::load(vision, vit)?, hq }))
    })
}
