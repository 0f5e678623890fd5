//! EdgeTAM: SAM 2 with RepViT-M1 for a trunk, and a memory that is compressed to latents before it is kept.
//!
//! All else is SAM 2's, with pointers and hidden objects as in 2.0. (`sam2/configs/edgetam.yaml` of facebookresearch/EdgeTAM.)

use super::sam2::{IMAGE_SIZE, Sam2Config};
use super::sam2_memory::MemoryConfig;
use crate::blocks::hiera::STAGES;
use crate::blocks::perceiver::PerceiverConfig;
use crate::blocks::repvit::{RepVitConfig, RepVitStage};
use crate::blocks::trunk::TrunkConfig;

/// Channels and blocks of the stages of RepViT-M1.
pub(crate) const CHANNELS: [usize; STAGES] = [48, 96, 192, 384];
pub(crate) const DEPTHS: [usize; STAGES] = [2, 2, 14, 2];
/// Channels between the layers that mix channels, over those of the map.
const WIDENING: usize = 2;
/// A quarter of the channels is left where they are weighed, rounded to a multiple.
const SQUEEZING: usize = 4;
const SQUEEZED_MULTIPLE: usize = 8;

/// The trunk, as timm makes it of channels and blocks. Not checked.
pub(crate) fn repvit(image_size: usize, channels: [usize; STAGES], depths: [usize; STAGES]) -> TrunkConfig {
    let stage = |index: usize| {
        let (channels, depth) = (channels[index], depths[index]);
        let quarter = channels / SQUEEZING;
        let rounded = quarter.saturating_add(SQUEEZED_MULTIPLE / 2) / SQUEEZED_MULTIPLE * SQUEEZED_MULTIPLE;
        let squeezed = rounded.max(SQUEEZED_MULTIPLE);
        RepVitStage { channels, depth, hidden: channels.saturating_mul(WIDENING), squeezed }
    };
    TrunkConfig::RepVit(RepVitConfig { image_size, stages: [0, 1, 2, 3].map(stage) })
}

/// The memory of the published model.
pub(crate) fn memory() -> MemoryConfig {
    let mut memory = MemoryConfig::published(false);
    memory.attention.depth = 2;
    memory.perceiver =
        Some(PerceiverConfig { channels: 64, latents: 256, windows: 16, depth: 2, hidden: 256 });
    memory
}

/// All numbers of the published model.
pub(crate) fn published() -> Sam2Config {
    Sam2Config::with_trunk(repvit(IMAGE_SIZE, CHANNELS, DEPTHS), Some(memory()))
}
