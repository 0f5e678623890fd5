//! Trunks that SAM 2's neck reads: maps of four stages, each with half the cells of the one before along a side.

use samovar_tensor::{Device, Tensor};

use super::hiera::{Hiera, HieraConfig, STAGES};
use super::loader::Loader;
use super::repvit::{RepVit, RepVitConfig};
use crate::error::Result;

/// Dimensions of a [`Trunk`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TrunkConfig {
    Hiera(HieraConfig),
    RepVit(RepVitConfig),
}

impl TrunkConfig {
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Hiera(config) => config.check(),
            Self::RepVit(config) => config.check(),
        }
    }

    pub(crate) fn image_size(&self) -> usize {
        match self {
            Self::Hiera(config) => config.image_size,
            Self::RepVit(config) => config.image_size,
        }
    }

    /// The same trunk on another input square. Not checked.
    pub(crate) fn with_image_size(self, image_size: usize) -> Self {
        match self {
            Self::Hiera(config) => Self::Hiera(HieraConfig { image_size, ..config }),
            Self::RepVit(config) => Self::RepVit(RepVitConfig { image_size, ..config }),
        }
    }

    /// Cells along each side of a stage's map.
    pub(crate) fn grid(&self, stage: usize) -> usize {
        match self {
            Self::Hiera(config) => config.grid(stage),
            Self::RepVit(config) => config.grid(stage),
        }
    }

    /// Channels of the stages' maps.
    pub(crate) fn channels(&self) -> [usize; STAGES] {
        match self {
            Self::Hiera(config) => config.channels(),
            Self::RepVit(config) => config.channels(),
        }
    }
}

pub(crate) enum Trunk {
    Hiera(Hiera),
    RepVit(RepVit),
}

impl Trunk {
    pub(crate) fn load(loader: &Loader, config: &TrunkConfig) -> Result<Self> {
        Ok(match config {
            TrunkConfig::Hiera(config) => Self::Hiera(Hiera::load(loader, config)?),
            TrunkConfig::RepVit(config) => Self::RepVit(RepVit::load(loader, config)?),
        })
    }

    /// Pixels `[B, S, S, 3]` to what `keep` makes of the map of every stage, fine to coarse. It gets the stage and its map
    /// `[B', rows, columns, C]`, or a stripe of that, and has to treat every token for itself.
    pub(crate) fn forward(
        &self,
        device: &Device,
        pixels: &Tensor,
        keep: &dyn Fn(usize, &Tensor) -> Result<Tensor>,
    ) -> Result<Vec<Tensor>> {
        match self {
            Self::Hiera(trunk) => trunk.forward(device, pixels, keep),
            Self::RepVit(trunk) => trunk.forward(device, pixels, keep),
        }
    }
}
