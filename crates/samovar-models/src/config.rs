//! Which family a model is of, and its dimensions: from a `config.json`, from a checkpoint's shapes, or by name.

use std::fmt;

use samovar_weights::{WeightSource, looks_like};

use crate::blocks::loader::Loader;
use crate::blocks::trunk::TrunkConfig;
use crate::capabilities::Capabilities;
use crate::error::{Error, Result};
use crate::families::d_fine::{self, DFineConfig};
use crate::families::mobile_sam::{self, MobileSamConfig};
use crate::families::nano_json::NanoConfig;
use crate::families::sam_checkpoint::two_way_epsilon;
use crate::families::sam1::{self, SamConfig};
use crate::families::sam2::{self, Sam2Config};
use crate::families::{
    d_fine_checkpoint, d_fine_json, edgetam_checkpoint, edgetam_json, mobile_sam_checkpoint, nano, prompted,
    sam_heads, sam1_checkpoint, sam1_json, sam2_checkpoint, sam2_json,
};
use crate::interface::{Capability, Preprocessing, Recommendations};
use crate::limits::{MAX_INPUT_SIDE, at_most};
use crate::names::Named;
use crate::preprocessor::Preprocessor;

/// Metadata of a weight file that holds its configuration.
pub const CONFIG_KEY: &str = "samovar_config";

/// Metadata of a weight file that holds its `preprocessor_config.json`.
pub const PREPROCESSOR_KEY: &str = "samovar_preprocessor";

/// Model families, as their publishers name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Segment Anything with its ViT encoder.
    Sam,
    /// SAM-HQ: SAM with a decoder for fine masks, or with MobileSAM's encoder (Light HQ-SAM).
    SamHq,
    /// MobileSAM: a TinyViT encoder in front of SAM's decoder.
    MobileSam,
    /// SAM 2 and SAM 2.1: a Hiera encoder, and a decoder that reads finer maps and says whether there is an object.
    Sam2,
    /// EdgeTAM: SAM 2 with a RepViT encoder and memories that are compressed.
    EdgeTam,
    /// samovar's own small model, embedded in the library.
    Nano,
    /// D-FINE: boxes of the things of a fixed list of classes.
    DFine,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Sam => "sam",
            Family::SamHq => "sam_hq",
            Family::MobileSam => "mobile_sam",
            Family::Sam2 => "sam2",
            Family::EdgeTam => "edgetam",
            Family::Nano => "nano",
            Family::DFine => "d_fine",
        })
    }
}

/// Configuration of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub(crate) dimensions: Dimensions,
    /// What a file of its own says about pixels, where that is not what the family says.
    preprocessor: Option<Preprocessor>,
}

/// The dimensions of a model, as its family states them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Dimensions {
    Sam(SamConfig),
    MobileSam(MobileSamConfig),
    /// Of EdgeTAM too, which is told by its trunk.
    Sam2(Box<Sam2Config>),
    Nano(NanoConfig),
    DFine(Box<DFineConfig>),
}

impl Dimensions {
    fn with_input_size(self, input_size: usize) -> Result<Self> {
        Ok(match self {
            Dimensions::Sam(config) => Dimensions::Sam(config.with_image_size(input_size)?),
            Dimensions::MobileSam(config) => Dimensions::MobileSam(config.with_image_size(input_size)?),
            Dimensions::Sam2(config) => Dimensions::Sam2(config.with_image_size(input_size)?.into()),
            Dimensions::Nano(config) => Dimensions::Nano(config.with_image_size(input_size)?),
            Dimensions::DFine(config) => Dimensions::DFine(config.with_image_size(input_size)?.into()),
        })
    }

    fn preprocessing(&self) -> Preprocessing {
        match self {
            Dimensions::Sam(config) => config.preprocessing(),
            Dimensions::MobileSam(config) => config.preprocessing(),
            Dimensions::Sam2(config) => config.preprocessing(),
            Dimensions::Nano(config) => config.preprocessing(),
            Dimensions::DFine(config) => config.preprocessing(),
        }
    }
}

impl From<Dimensions> for ModelConfig {
    fn from(dimensions: Dimensions) -> Self {
        Self { dimensions, preprocessor: None }
    }
}

impl ModelConfig {
    /// Reads a Hugging Face `config.json` (or nano's own, which has the same form).
    ///
    /// # Errors
    /// [`Error::Config`] when it is not of a model samovar runs.
    pub fn from_hf_json(json: &str) -> Result<Self> {
        let value: serde_json::Value =
            serde_json::from_str(json).map_err(|error| Error::Config(format!("config.json: {error}")))?;
        let dimensions = match value.get("model_type").and_then(|kind| kind.as_str()) {
            Some("sam") => Dimensions::Sam(sam1_json::parse(json, false)?),
            Some("sam_hq") => Dimensions::Sam(sam1_json::parse(json, true)?),
            Some("sam2") => Dimensions::Sam2(sam2_json::parse(json, false)?.into()),
            Some("sam2_video") => Dimensions::Sam2(sam2_json::parse(json, true)?.into()),
            Some("edgetam") => Dimensions::Sam2(edgetam_json::parse(json, false)?.into()),
            Some("edgetam_video") => Dimensions::Sam2(edgetam_json::parse(json, true)?.into()),
            Some("nano") => Dimensions::Nano(NanoConfig::from_json(json)?),
            Some("d_fine") => Dimensions::DFine(d_fine_json::parse(json)?.into()),
            Some(other) => {
                let known = "models of type sam, sam_hq, sam2, sam2_video, edgetam, edgetam_video, nano and d_fine run \
                             from a config.json";
                return Err(Error::Config(format!("model_type is `{other}`; {known}")));
            }
            None => return Err(Error::Config("no model_type; is this the config.json of a model?".into())),
        };
        Ok(dimensions.into())
    }

    /// Reads the dimensions off the tensors of a checkpoint, or off its metadata [`CONFIG_KEY`] and
    /// [`PREPROCESSOR_KEY`], if any.
    ///
    /// # Errors
    /// [`Error::Config`] when it is not of a model samovar runs.
    pub fn infer(weights: &dyn WeightSource) -> Result<Self> {
        let config = match weights.metadata(CONFIG_KEY) {
            Some(json) => Self::from_hf_json(&json)?,
            None => Self::infer_from_shapes(weights)?,
        };
        match weights.metadata(PREPROCESSOR_KEY) {
            Some(json) => config.with_preprocessor(&json),
            None => Ok(config),
        }
    }

    fn infer_from_shapes(weights: &dyn WeightSource) -> Result<Self> {
        let named = Named::new(weights)?;
        let (source, epsilon) = (named.source(), two_way_epsilon(named.is_foreign()));
        let dimensions = if mobile_sam_checkpoint::holds(source) {
            Dimensions::MobileSam(mobile_sam_checkpoint::infer(source, epsilon)?)
        } else if sam1_checkpoint::holds(source) {
            Dimensions::Sam(sam1_checkpoint::infer(source, epsilon)?)
        } else if sam2_checkpoint::holds(source) {
            Dimensions::Sam2(sam2_checkpoint::infer(source)?.into())
        } else if edgetam_checkpoint::holds(source) {
            Dimensions::Sam2(edgetam_checkpoint::infer(source)?.into())
        } else if d_fine_checkpoint::holds(source) {
            Dimensions::DFine(d_fine_checkpoint::infer(source)?.into())
        } else {
            let found = looks_like(weights).unwrap_or("something else");
            let expected = "expected SAM, SAM-HQ, MobileSAM, SAM 2, EdgeTAM, nano or D-FINE";
            return Err(Error::Config(format!("{}: {expected}, found {found}", weights.origin())));
        };
        Ok(dimensions.into())
    }

    /// The same model on another input square, for families in which nothing learned depends on it.
    ///
    /// # Errors
    /// [`Error::Config`] for SAM, whose position tables fix the size, and for sizes a model cannot have.
    pub fn with_input_size(self, input_size: usize) -> Result<Self> {
        at_most("input size", input_size, MAX_INPUT_SIDE)?;
        Ok(Self { dimensions: self.dimensions.with_input_size(input_size)?, ..self })
    }

    /// The same model with pixels prepared as a Hugging Face `preprocessor_config.json` says (or the `image_processor` in a
    /// `processor_config.json`).
    ///
    /// # Errors
    /// [`Error::Config`] when the file says what it cannot mean, or what the model cannot do.
    pub fn with_preprocessor(self, json: &str) -> Result<Self> {
        let own = self.dimensions.preprocessing();
        let preprocessor = Preprocessor::parse(json, &own)?;
        let config = match preprocessor.canvas().filter(|canvas| *canvas != own.canvas()) {
            None => self,
            Some(canvas) if canvas.width == canvas.height => self.with_input_size(canvas.width as usize)?,
            Some(canvas) => {
                let what =
                    format!("preprocessor_config.json: size {canvas}; the model takes {}", own.canvas());
                return Err(Error::Config(what));
            }
        };
        let own = config.dimensions.preprocessing();
        let differs = preprocessor.applied_to(own) != own;
        Ok(Self { preprocessor: differs.then_some(preprocessor), ..config })
    }

    /// The model's family.
    pub fn family(&self) -> Family {
        match &self.dimensions {
            Dimensions::Sam(SamConfig { decoder, .. })
            | Dimensions::MobileSam(MobileSamConfig { decoder, .. })
                if decoder.hq_early_channels.is_some() =>
            {
                Family::SamHq
            }
            Dimensions::Sam(_) => Family::Sam,
            Dimensions::MobileSam(_) => Family::MobileSam,
            Dimensions::Sam2(config) => match config.trunk {
                TrunkConfig::Hiera(_) => Family::Sam2,
                TrunkConfig::RepVit(_) => Family::EdgeTam,
            },
            Dimensions::Nano(_) => Family::Nano,
            Dimensions::DFine(_) => Family::DFine,
        }
    }

    /// How pixels become the model's input.
    pub fn preprocessing(&self) -> Preprocessing {
        let own = self.dimensions.preprocessing();
        self.preprocessor.map_or(own, |preprocessor| preprocessor.applied_to(own))
    }

    /// Whether it remembers objects from frame to frame.
    pub fn can_track(&self) -> bool {
        self.capabilities().contains(&Capability::Tracker)
    }

    /// What the model can do.
    pub fn capabilities(&self) -> &'static [Capability] {
        match &self.dimensions {
            Dimensions::Sam(_) | Dimensions::MobileSam(_) | Dimensions::Nano(_) => prompted::CAPABILITIES,
            Dimensions::Sam2(config) => config.capabilities(),
            Dimensions::DFine(_) => d_fine::CAPABILITIES,
        }
    }

    /// Names of the classes of a detector, in the order of its logits; of other models none.
    pub fn classes(&self) -> &[String] {
        match &self.dimensions {
            Dimensions::DFine(config) => &config.classes,
            _ => &[],
        }
    }

    /// What the model's authors recommend to those who use its masks; SAM's numbers for models without masks.
    pub fn recommendations(&self) -> Recommendations {
        match &self.dimensions {
            Dimensions::Sam(config) => sam_heads::recommendations(&config.decoder),
            Dimensions::MobileSam(config) => sam_heads::recommendations(&config.decoder),
            Dimensions::Sam2(config) => config.recommendations(),
            Dimensions::Nano(config) => config.recommendations(),
            Dimensions::DFine(_) => sam_heads::RECOMMENDATIONS,
        }
    }

    /// Loads the model's layers.
    pub(crate) fn load(&self, loader: &Loader) -> Result<Capabilities> {
        let preprocessing = self.preprocessing();
        match &self.dimensions {
            Dimensions::Sam(config) => sam1::load(loader, config, preprocessing),
            Dimensions::MobileSam(config) => mobile_sam::load(loader, config, preprocessing),
            Dimensions::Sam2(config) => sam2::load(loader, config, preprocessing),
            Dimensions::Nano(config) => nano::load(loader, config, preprocessing),
            Dimensions::DFine(config) => d_fine::load(loader, config, preprocessing),
        }
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
