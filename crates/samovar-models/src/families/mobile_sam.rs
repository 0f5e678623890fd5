//! MobileSAM: TinyViT-5M in front of SAM's own decoder; and Light HQ-SAM, with that of SAM-HQ.

use samovar_geometry::{ResizeRule, Size};
use samovar_tensor::{Device, Tensor};

use super::prompted::{self, Encoder, Wiring};
use super::sam_heads::{self, IMAGENET_MEAN, IMAGENET_STD};
use crate::blocks::hq::HqFeatures;
use crate::blocks::loader::Loader;
use crate::blocks::mask_decoder::MaskDecoderConfig;
use crate::blocks::prompt_encoder::PromptEncoderConfig;
use crate::blocks::stage::Stage;
use crate::blocks::tiny_vit::{TinyVit, TinyVitConfig};
use crate::capabilities::Capabilities;
use crate::error::Result;
use crate::interface::{ImageFeatures, Preprocessing};

/// All numbers of a MobileSAM or Light HQ-SAM.
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
        let prompt = sam_heads::prompt_encoder(IMAGE_SIZE, tiny_vit.grid());
        let mut decoder = sam_heads::mask_decoder();
        decoder.transformer.epsilon = 1e-5;
        Self { tiny_vit, prompt, decoder }
    }

    /// The same model on another input square: nothing learned depends on its size.
    pub(crate) fn with_image_size(mut self, image_size: usize) -> Result<Self> {
        self.tiny_vit.image_size = image_size;
        self.tiny_vit.check()?;
        self.prompt.input = Size::square(image_size as u32);
        self.prompt.embedding = [self.tiny_vit.grid(); 2];
        self.check()?;
        Ok(self)
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.tiny_vit.check()?;
        self.prompt.check(self.tiny_vit.output_channels)?;
        self.decoder.check(self.tiny_vit.output_channels)?;
        sam_heads::check_hq(&self.decoder, self.tiny_vit.early_channels())
    }

    /// The Light HQ-SAM with this encoder.
    pub(crate) fn hq(mut self) -> Self {
        self.decoder.hq_early_channels = self.tiny_vit.early_channels();
        self
    }

    pub(crate) fn preprocessing(&self) -> Preprocessing {
        let target = self.tiny_vit.image_size as u32;
        Preprocessing { resize: ResizeRule::LongestSide { target }, mean: IMAGENET_MEAN, std: IMAGENET_STD }
    }
}

struct TinyVitEncoder {
    tiny_vit: TinyVit,
    hq: Option<HqFeatures>,
}

impl Encoder for TinyVitEncoder {
    fn forward(&self, device: &Device, pixels: &Tensor) -> Result<ImageFeatures> {
        HqFeatures::encode(self.hq.as_ref(), device, |early| self.tiny_vit.forward(device, pixels, early))
    }
}

pub(crate) fn load(
    loader: &Loader,
    config: &MobileSamConfig,
    preprocessing: Preprocessing,
) -> Result<Capabilities> {
    let MobileSamConfig { tiny_vit, prompt, decoder } = config;
    let recommendations = sam_heads::recommendations(decoder);
    let wiring = Wiring { preprocessing, prompt, decoder, recommendations };
    prompted::load(loader, wiring, |vision, _| {
        let hq = sam_heads::load_hq_features(loader, decoder)?;
        Ok(Box::new(TinyVitEncoder { tiny_vit: TinyVit::load(vision, tiny_vit)?, hq }))
    })
}
