//! All dimensions of a model, and the limits beyond which a configuration is not believed.

use std::fmt;

use samovar_weights::{WeightSource, looks_like};

use crate::blocks::mask_decoder::MaskDecoderConfig;
use crate::blocks::prompt_encoder::PromptEncoderConfig;
use crate::families::mobile_sam::MobileSamConfig;
use crate::families::nano_json::NanoConfig;
use crate::families::original::{self, Named};
use crate::families::sam1::SamConfig;
use crate::families::sam1_json;
use crate::{CatalogueEntry, Error, Result};

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
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Sam(SamConfig),
    MobileSam(MobileSamConfig),
    Nano(NanoConfig),
}

impl ModelConfig {
    /// Reads a Hugging Face `config.json` (or nano's own, which has the same form).
    ///
    /// # Errors
    /// [`Error::Config`] when it is not of a model samovar runs.
    pub fn from_hf_json(json: &str) -> Result<Self> {
        let value: serde_json::Value =
            serde_json::from_str(json).map_err(|error| Error::Config(format!("config.json: {error}")))?;
        let kind = match value.get("model_type").and_then(|kind| kind.as_str()) {
            Some("sam") => Kind::Sam(sam1_json::parse(json)?),
            Some("nano") => Kind::Nano(NanoConfig::from_json(json)?),
            Some(other) => {
                let what =
                    format!("model_type is `{other}`; models of type sam and nano run from a config.json");
                return Err(Error::Config(what));
            }
            None => return Err(Error::Config("no model_type; is this the config.json of a model?".into())),
        };
        Ok(Self { kind })
    }

    /// Reads the dimensions off the tensors of a checkpoint (and off its `samovar_config` metadata, if any).
    ///
    /// # Errors
    /// [`Error::Config`] when it is not of a model samovar runs.
    pub fn infer(weights: &dyn WeightSource) -> Result<Self> {
        if let Some(json) = weights.metadata("samovar_config") {
            return Self::from_hf_json(&json);
        }
        let named = Named::new(weights)?;
        let kind = if original::is_mobile_sam(named.source()) {
            Kind::MobileSam(original::infer_mobile_sam(&named)?)
        } else if original::is_sam(named.source()) {
            Kind::Sam(original::infer_sam(&named)?)
        } else {
            let found = looks_like(weights).unwrap_or("something else");
            let what = format!("{}: expected SAM, MobileSAM or nano, found {found}", weights.origin());
            return Err(Error::Config(what));
        };
        Ok(Self { kind })
    }

    /// The configuration of a model of the catalogue, by any of its names.
    pub fn from_catalogue(id: &str) -> Option<Self> {
        let kind = match CatalogueEntry::find(id)?.id {
            "nano" => Kind::Nano(NanoConfig::default()),
            "mobile_sam" => Kind::MobileSam(MobileSamConfig::published()),
            "facebook/sam-vit-base" => Kind::Sam(SamConfig::vit_b()),
            "facebook/sam-vit-large" => Kind::Sam(SamConfig::vit_l()),
            "facebook/sam-vit-huge" => Kind::Sam(SamConfig::vit_h()),
            _ => return None,
        };
        Some(Self { kind })
    }

    /// The same model on another input square, for families in which nothing learned depends on it.
    ///
    /// # Errors
    /// [`Error::Config`] for SAM, whose position tables fix the size, and for sizes a model cannot have.
    pub fn with_input_size(self, input_size: usize) -> Result<Self> {
        at_most("input size", input_size, Limits::IMAGE_SIZE)?;
        let kind = match self.kind {
            Kind::Sam(config) if config.vit.image_size == input_size => Kind::Sam(config),
            Kind::Sam(config) => {
                let size = config.vit.image_size;
                return Err(Error::Config(format!("this SAM was trained for input squares of {size}")));
            }
            Kind::MobileSam(config) => {
                let config = config.with_image_size(input_size);
                config.check()?;
                Kind::MobileSam(config)
            }
            Kind::Nano(config) => Kind::Nano(config.with_image_size(input_size)?),
        };
        Ok(Self { kind })
    }

    /// The model's family.
    pub fn family(&self) -> Family {
        match self.kind {
            Kind::Sam(_) => Family::Sam,
            Kind::MobileSam(_) => Family::MobileSam,
            Kind::Nano(_) => Family::Nano,
        }
    }
}

/// Numbers above these are taken for damage or malice: several times those of the largest known models.
pub(crate) struct Limits;

impl Limits {
    pub(crate) const IMAGE_SIZE: usize = 8192;
    pub(crate) const CHANNELS: usize = 65_536;
    pub(crate) const DEPTH: usize = 256;
    pub(crate) const HEADS: usize = 256;
    pub(crate) const PATCH: usize = 256;
    /// Tokens along a side; attention goes with its fourth power.
    pub(crate) const GRID: usize = 1024;
    pub(crate) const WINDOW: usize = 1024;
    /// The bias table of a window grows with its fourth power.
    pub(crate) const TABLE_WINDOW: usize = 32;
    pub(crate) const KERNEL: usize = 31;
    pub(crate) const MASKS: usize = 64;
}

/// Checks `1..=limit`.
pub(crate) fn at_most(what: &str, value: usize, limit: usize) -> Result<()> {
    if (1..=limit).contains(&value) {
        return Ok(());
    }
    Err(Error::Config(format!("{what} is {value}, expected 1 to {limit}")))
}

fn divides(what: &str, channels: usize, heads: usize) -> Result<()> {
    at_most(&format!("{what}: channels"), channels, Limits::CHANNELS)?;
    at_most(&format!("{what}: heads"), heads, Limits::HEADS)?;
    if channels.is_multiple_of(heads) {
        return Ok(());
    }
    Err(Error::Config(format!("{what}: {heads} heads do not divide {channels} channels")))
}

fn positive(what: &str, value: f32) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::Config(format!("{what} is {value}, expected a positive number")))
}

impl SamConfig {
    pub(crate) fn check(&self) -> Result<()> {
        let vit = &self.vit;
        at_most("image size", vit.image_size, Limits::IMAGE_SIZE)?;
        at_most("patch size", vit.patch_size, Limits::PATCH)?;
        if !vit.image_size.is_multiple_of(vit.patch_size) {
            let what = format!("patches of {} do not divide an image of {}", vit.patch_size, vit.image_size);
            return Err(Error::Config(what));
        }
        at_most("patches along a side", vit.grid(), Limits::GRID)?;
        divides("vision encoder", vit.channels, vit.heads)?;
        at_most("vision encoder: depth", vit.depth, Limits::DEPTH)?;
        at_most("vision encoder: mlp", vit.mlp_channels, Limits::CHANNELS)?;
        at_most("window", vit.window.max(1), Limits::WINDOW)?;
        positive("vision encoder: layer norm epsilon", vit.epsilon)?;
        self.prompt.check(vit.output_channels)?;
        self.decoder.check(vit.output_channels)
    }
}

impl MobileSamConfig {
    pub(crate) fn check(&self) -> Result<()> {
        let tiny_vit = &self.tiny_vit;
        at_most("image size", tiny_vit.image_size, Limits::IMAGE_SIZE)?;
        if !(2..=8).contains(&tiny_vit.stages.len()) {
            return Err(Error::Config(format!("{} stages, expected 2 to 8", tiny_vit.stages.len())));
        }
        if !tiny_vit.image_size.is_multiple_of(1 << tiny_vit.stages.len()) {
            let what = format!(
                "input size {} is not a multiple of {}",
                tiny_vit.image_size,
                1 << tiny_vit.stages.len()
            );
            return Err(Error::Config(what));
        }
        for stage in &tiny_vit.stages {
            divides("stage", stage.channels, stage.heads)?;
            at_most("stage: depth", stage.depth, Limits::DEPTH)?;
            at_most("stage: hidden channels", stage.hidden, Limits::CHANNELS)?;
            at_most("stage: window", stage.window, Limits::TABLE_WINDOW)?;
        }
        at_most("cells along a side", tiny_vit.grid(), Limits::GRID)?;
        at_most("stem channels", tiny_vit.stages[0].channels / 2, Limits::CHANNELS)?;
        self.prompt.check(tiny_vit.output_channels)?;
        self.decoder.check(tiny_vit.output_channels)
    }
}

impl PromptEncoderConfig {
    fn check(&self, channels: usize) -> Result<()> {
        at_most("prompt encoder: channels", self.channels, Limits::CHANNELS)?;
        if self.channels != channels || !channels.is_multiple_of(2) {
            let what = format!("prompts of {} channels for images of {channels}", self.channels);
            return Err(Error::Config(what));
        }
        at_most("prompt encoder: mask channels", self.mask_channels[0], Limits::CHANNELS)?;
        at_most("prompt encoder: mask channels", self.mask_channels[1], Limits::CHANNELS)?;
        positive("prompt encoder: layer norm epsilon", self.epsilon)
    }
}

impl MaskDecoderConfig {
    fn check(&self, channels: usize) -> Result<()> {
        let transformer = &self.transformer;
        if transformer.channels != channels {
            let what = format!("a decoder of {} channels for images of {channels}", transformer.channels);
            return Err(Error::Config(what));
        }
        divides("mask decoder", transformer.channels, transformer.heads)?;
        divides("mask decoder: attention to the image", transformer.cross_channels, transformer.heads)?;
        at_most("mask decoder: depth", transformer.depth, Limits::DEPTH)?;
        at_most("mask decoder: mlp", transformer.mlp_channels, Limits::CHANNELS)?;
        at_most("mask decoder: masks", self.multimask_outputs, Limits::MASKS)?;
        at_most("mask decoder: upscaled channels", self.upscale_channels[0], Limits::CHANNELS)?;
        at_most("mask decoder: upscaled channels", self.upscale_channels[1], Limits::CHANNELS)?;
        at_most("mask decoder: IoU head depth", self.iou_depth.saturating_sub(1), Limits::DEPTH)?;
        at_most("mask decoder: IoU head channels", self.iou_hidden, Limits::CHANNELS)?;
        positive("mask decoder: layer norm epsilon", transformer.epsilon)
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
