//! All dimensions of a model.

use std::fmt;

use samovar_weights::WeightSource;

use crate::{Error, Result};

/// Model families: one image encoder each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Segment Anything with its ViT encoder.
    Sam,
    /// MobileSAM: a TinyViT encoder in front of SAM's decoder.
    MobileSam,
    /// samovar's own small model, embedded in the library.
    Nano,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Sam => "sam",
            Family::MobileSam => "mobile_sam",
            Family::Nano => "nano",
        })
    }
}

/// Configuration of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    family: Family,
}

impl ModelConfig {
    /// Reads a Hugging Face `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] when it is not of a model samovar runs.
    pub fn from_hf_json(_json: &str) -> Result<Self> {
        Err(Error::Config("not read yet".into()))
    }

    /// Reads the dimensions off the tensors of a checkpoint (and off its `samovar_config` metadata, if any).
    ///
    /// # Errors
    /// [`Error::Config`] when it is not of a model samovar runs.
    pub fn infer(_weights: &dyn WeightSource) -> Result<Self> {
        Err(Error::Config("not read yet".into()))
    }

    /// The configuration of a model of the catalogue.
    pub fn from_catalogue(_id: &str) -> Option<Self> {
        None
    }

    /// The model's family.
    pub fn family(&self) -> Family {
        self.family
    }
}
