//! SAM 2 and 2.1 on images: Hiera and a feature pyramid in front of SAM's decoder with finer maps and an object score; and all that
//! models with another trunk have of it.
//!
//! An image is a frame without memories here, as in upstream's `SAM2ImagePredictor`: what stands for them is added by the
//! prompt encoder, and the features are those the tracker of `sam2_memory` starts from.

use std::sync::Arc;

use samovar_geometry::{ResizeRule, Size};
use samovar_tensor::{Activation, Device, Tensor};

use super::prompted::{self, Encoder, Wiring};
use super::sam_heads::{self, IMAGENET_MEAN, IMAGENET_STD};
use super::sam2_memory::{MemoryConfig, Sam2Tracker, Surroundings};
use crate::blocks::fpn::{Fpn, FpnConfig};
use crate::blocks::hiera::HieraConfig;
use crate::blocks::loader::Loader;
use crate::blocks::mask_decoder::{HighResConfig, MaskDecoderConfig, ObjectScoreConfig};
use crate::blocks::prompt_encoder::PromptEncoderConfig;
use crate::blocks::stage::Stage;
use crate::blocks::trunk::{Trunk, TrunkConfig};
use crate::capabilities::Capabilities;
use crate::error::{Error, Result};
use crate::interface::{
    Capability, EverythingThresholds, ImageFeatures, MaskChoice, MaskRule, Preprocessing, Recommendations,
};

/// All numbers of a SAM 2.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sam2Config {
    pub(crate) trunk: TrunkConfig,
    pub(crate) prompt: PromptEncoderConfig,
    pub(crate) decoder: MaskDecoderConfig,
    /// The mask of a prompt that is not one click.
    pub(crate) single_mask: MaskChoice,
    /// What follows objects through video, in models that have it. Checked where it is loaded: pictures need none of it.
    pub(crate) memory: Option<MemoryConfig>,
}

/// What the published sizes differ in.
pub(crate) struct Published {
    pub(crate) channels: usize,
    pub(crate) heads: usize,
    pub(crate) depths: [usize; 4],
    pub(crate) windows: [usize; 4],
    pub(crate) global_blocks: [usize; 3],
    pub(crate) background: usize,
}

pub(crate) const TINY: Published = Published {
    channels: 96,
    heads: 1,
    depths: [1, 2, 7, 2],
    windows: [8, 4, 14, 7],
    global_blocks: [5, 7, 9],
    background: 7,
};
pub(crate) const SMALL: Published = Published { depths: [1, 2, 11, 2], global_blocks: [7, 10, 13], ..TINY };
pub(crate) const BASE_PLUS: Published = Published {
    channels: 112,
    heads: 2,
    depths: [2, 3, 16, 3],
    global_blocks: [12, 16, 20],
    background: 14,
    ..TINY
};
pub(crate) const LARGE: Published = Published {
    channels: 144,
    heads: 2,
    depths: [2, 6, 36, 4],
    windows: [8, 4, 16, 8],
    global_blocks: [23, 33, 43],
    background: 7,
};

/// Input square of the published models.
pub(crate) const IMAGE_SIZE: usize = 1024;
/// Pixels of a cell of the embedding.
pub(crate) const STRIDE: usize = 16;
/// The stage whose map the embedding has.
const EMBEDDED_STAGE: usize = 2;
/// `dynamic_multimask_via_stability`, as upstream's `build_sam2` sets it.
pub(crate) const SINGLE_IF_STABLE: MaskChoice = MaskChoice::SingleIfStable { offset: 0.05, threshold: 0.98 };

/// The trunk of a published size.
pub(crate) fn hiera(size: &Published) -> HieraConfig {
    let stage = |index: usize| {
        let channels = size.channels << index;
        let (depth, window) = (size.depths[index], size.windows[index]);
        Stage { channels, depth, hidden: 4 * channels, heads: size.heads << index, window }
    };
    HieraConfig {
        image_size: IMAGE_SIZE,
        stages: [0, 1, 2, 3].map(stage),
        global_blocks: size.global_blocks.to_vec(),
        background: [size.background; 2],
        epsilon: 1e-6,
    }
}

impl Sam2Config {
    pub(crate) fn published(size: &Published, memory: MemoryConfig) -> Self {
        Self::with_trunk(TrunkConfig::Hiera(hiera(size)), Some(memory))
    }

    /// What all published models have in common around their trunks.
    pub(crate) fn with_trunk(trunk: TrunkConfig, memory: Option<MemoryConfig>) -> Self {
        let prompt = prompt_encoder(IMAGE_SIZE);
        Self { trunk, prompt, decoder: mask_decoder(), single_mask: SINGLE_IF_STABLE, memory }
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.trunk.check()?;
        let channels = self.decoder.transformer.channels;
        self.prompt.check(channels)?;
        self.decoder.check(channels)?;
        let (image_size, grid) = (self.trunk.image_size(), self.trunk.grid(EMBEDDED_STAGE));
        if self.prompt.embedding != [grid; 2] || self.prompt.input != Size::square(image_size as u32) {
            let what = format!("prompts on {:?} cells of {}", self.prompt.embedding, self.prompt.input);
            return Err(Error::Config(format!(
                "{what} for an input of {image_size} with {grid} cells a side"
            )));
        }
        match self.single_mask {
            MaskChoice::SingleIfStable { offset, threshold } if !(offset >= 0.0 && threshold.is_finite()) => {
                Err(Error::Config(format!("stability {threshold} at an offset of {offset}")))
            }
            _ => Ok(()),
        }
    }

    /// What the model can do.
    pub(crate) fn capabilities(&self) -> &'static [Capability] {
        match self.memory {
            Some(_) => &[Capability::ImageEncoder, Capability::PromptableSegmenter, Capability::Tracker],
            None => prompted::CAPABILITIES,
        }
    }

    /// The same model on another input square: its positions stretch.
    pub(crate) fn with_image_size(mut self, image_size: usize) -> Result<Self> {
        self.trunk = self.trunk.with_image_size(image_size);
        self.trunk.check()?;
        self.prompt.input = Size::square(image_size as u32);
        self.prompt.embedding = [self.trunk.grid(EMBEDDED_STAGE); 2];
        self.check()?;
        Ok(self)
    }

    pub(crate) fn preprocessing(&self) -> Preprocessing {
        let side = self.trunk.image_size() as u32;
        let resize = ResizeRule::Exact { width: side, height: side };
        Preprocessing { resize, mean: IMAGENET_MEAN, std: IMAGENET_STD }
    }

    /// Three masks for one click; thresholds of `SAM2AutomaticMaskGenerator`.
    pub(crate) fn recommendations(&self) -> Recommendations {
        let everything =
            EverythingThresholds { pred_iou_thresh: 0.8, ..sam_heads::RECOMMENDATIONS.everything };
        let mask_rule = MaskRule { one_click: MaskChoice::BestOfMultimask, otherwise: self.single_mask };
        Recommendations { mask_rule, best_first: false, cleanup: false, everything }
    }

    fn neck(&self) -> FpnConfig {
        let [coarse, fine] = self.decoder.upscale_channels;
        FpnConfig {
            inputs: self.trunk.channels(),
            outputs: self.decoder.transformer.channels,
            fine: [fine, coarse],
        }
    }
}

/// SAM's prompt encoder, with what SAM 2 does otherwise.
pub(crate) fn prompt_encoder(image_size: usize) -> PromptEncoderConfig {
    let sam = sam_heads::prompt_encoder(image_size, image_size / STRIDE);
    PromptEncoderConfig { pads_boxes: true, no_memory: true, ..sam }
}

/// SAM's mask decoder, with what SAM 2 adds.
pub(crate) fn mask_decoder() -> MaskDecoderConfig {
    let mut decoder = sam_heads::mask_decoder();
    decoder.transformer.epsilon = 1e-5;
    decoder.iou_activation = Activation::Sigmoid;
    decoder.object_score = Some(ObjectScoreConfig { depth: 3, hidden: 256 });
    decoder.high_res = Some(HighResConfig { prompt_map: false, refine_blocks: [0, 0], refine_kernel: 1 });
    decoder
}

struct Sam2Encoder {
    trunk: Trunk,
    neck: Fpn,
}

impl Encoder for Sam2Encoder {
    fn forward(&self, device: &Device, pixels: &Tensor) -> Result<ImageFeatures> {
        let lateral = |stage: usize, map: &Tensor| self.neck.lateral(device, stage, map);
        let maps = self.trunk.forward(device, pixels, &lateral)?;
        let (embedding, high_res) = Fpn::join(device, maps)?;
        Ok(ImageFeatures { embedding, high_res, hq: None, is_conditioned: false })
    }
}

pub(crate) fn load(
    loader: &Loader,
    config: &Sam2Config,
    preprocessing: Preprocessing,
) -> Result<Capabilities> {
    let Sam2Config { trunk, prompt, decoder, .. } = config;
    let wiring = Wiring { preprocessing, prompt, decoder, recommendations: config.recommendations() };
    let mut capabilities = prompted::load(loader, wiring, |vision, _| {
        // Behind the trunk no residual carries what rounding takes, and there is little to gain.
        let (neck, decoder) = (vision.at("neck").exact(), loader.at("mask_decoder").exact());
        let trunk = Trunk::load(&vision.at("backbone"), trunk)?;
        Ok(Box::new(Sam2Encoder { trunk, neck: Fpn::load(&neck, &decoder, config.neck())? }))
    })?;
    if let (true, Some(memory)) = (loader.parts.tracker, &config.memory) {
        let surroundings = Surroundings {
            channels: config.decoder.transformer.channels,
            cells: config.prompt.embedding,
            input_side: config.trunk.image_size(),
            single_mask: config.single_mask,
        };
        capabilities.tracker = Some(Arc::new(Sam2Tracker::load(loader, &surroundings, memory)?));
    }
    Ok(capabilities)
}
