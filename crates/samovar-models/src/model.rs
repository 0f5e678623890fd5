//! A model on a device: weights in, capabilities out.

use std::collections::BTreeMap;
use std::sync::Arc;

use samovar_tensor::{Device, Precision, ShapeOnly};
use samovar_weights::WeightSource;

use crate::blocks::loader::{Loader, Record};
use crate::capabilities::Capabilities;
use crate::catalogue::CatalogueEntry;
use crate::config::{Family, ModelConfig};
use crate::error::{Error, Result};
use crate::interface::{Capability, Detector, Embedder, ImageEncoder, Parts, PromptableSegmenter};
use crate::names::Named;
use crate::tracker::Tracker;
use crate::unused::{self, Taken};

/// A model, ready to run on the device it was loaded for: what it can do, each asked for by name. Cheap to clone.
#[derive(Clone)]
pub struct Model {
    family: Family,
    capabilities: Capabilities,
}

impl Model {
    /// Loads onto a device what a model needs for images. A tracker has weights of its own, which these go without
    /// ([`Model::load_parts`]).
    ///
    /// The device's [`Device::weight_precision`] is that of the large layers; those whose errors would reach the masks stay
    /// f32 where it is int8. Files may hold weights in any precision.
    ///
    /// Tensors that the model does not use are refused, unless they are known to change no mask: what a file holds beside
    /// the weights, and what stands in front of their names, is taken off by [`crate::ModelWeights`].
    ///
    /// Weights may have Hugging Face or original names; [`samovar_weights::ShapeSource`] stands in for both.
    ///
    /// # Errors
    /// [`Error::Weights`] for a missing or misshapen tensor, [`Error::UnusedTensors`], [`Error::Tensor`] when memory runs
    /// out.
    pub fn load(device: &Device, config: &ModelConfig, weights: &dyn WeightSource) -> Result<Model> {
        Self::load_recorded(device, config, weights, None, Parts::IMAGES)
    }

    /// Loads some parts of a model; it has the capabilities of these alone. Of the others that images need, and of all that a
    /// tracker needs where one is asked for, the names and shapes are checked, and no values are read.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_parts(
        device: &Device,
        config: &ModelConfig,
        weights: &dyn WeightSource,
        parts: Parts,
    ) -> Result<Model> {
        let checked = if parts.tracker { Parts::ALL } else { Parts::IMAGES };
        if parts != checked {
            let on_shapes = Device::reference().shape_only(ShapeOnly::new());
            Self::load_recorded(&on_shapes, config, weights, None, checked)?;
        }
        Self::load_recorded(device, config, weights, None, parts)
    }

    /// Which of a file's tensors are weights of layers, and the precision each of them has on a device with weights in
    /// `precision`: what a file of such weights should hold. Reads no values. The others stay f32.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn weight_precisions(
        config: &ModelConfig,
        weights: &dyn WeightSource,
        precision: Precision,
    ) -> Result<BTreeMap<String, Precision>> {
        let device = Device::reference().shape_only(ShapeOnly::new()).with_weight_precision(precision);
        let record = Record::default();
        Self::load_recorded(&device, config, weights, Some(&record), Parts::IMAGES)?;
        let named = Named::new(weights)?;
        let of_file = |(name, precision)| (named.name_in_file(name), precision);
        Ok(record.into_inner().into_iter().map(of_file).collect())
    }

    fn load_recorded(
        device: &Device,
        config: &ModelConfig,
        weights: &dyn WeightSource,
        record: Option<&Record>,
        parts: Parts,
    ) -> Result<Model> {
        let named = Named::new(weights)?;
        let exact_device = device.with_weight_precision(device.weight_precision().exact());
        let taken = Taken::new(named.source());
        let mut loader = Loader::new(device, &exact_device, &taken).of_parts(parts);
        if let Some(record) = record {
            loader = loader.recorded(record);
        }
        let capabilities = config.load(&loader)?;
        if parts.image_encoder && parts.promptable_segmenter {
            taken.check_rest(parts.tracker, |name| named.name_in_file(name))?;
        }
        if !device.is_shape_only() {
            unused::check_pixels(named.source(), &config.preprocessing())?;
        }
        Ok(Model { family: config.family(), capabilities })
    }

    /// A model of capabilities that are made elsewhere; `family` is what it is called.
    pub fn of(family: Family, capabilities: Capabilities) -> Self {
        Self { family, capabilities }
    }

    /// The model's family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// All the model can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Encodes images.
    ///
    /// # Errors
    /// [`Error::Capability`] when the model does not; so for all of these.
    pub fn image_encoder(&self) -> Result<&Arc<dyn ImageEncoder>> {
        self.capabilities.image_encoder.as_ref().ok_or_else(|| self.lacks(Capability::ImageEncoder))
    }

    /// Answers prompts with masks.
    ///
    /// # Errors
    /// As [`Model::image_encoder`].
    pub fn promptable_segmenter(&self) -> Result<&Arc<dyn PromptableSegmenter>> {
        let segmenter = self.capabilities.promptable_segmenter.as_ref();
        segmenter.ok_or_else(|| self.lacks(Capability::PromptableSegmenter))
    }

    /// Finds the things it knows.
    ///
    /// # Errors
    /// As [`Model::image_encoder`].
    pub fn detector(&self) -> Result<&Arc<dyn Detector>> {
        self.capabilities.detector.as_ref().ok_or_else(|| self.lacks(Capability::Detector))
    }

    /// Turns images into vectors.
    ///
    /// # Errors
    /// As [`Model::image_encoder`].
    pub fn embedder(&self) -> Result<&Arc<dyn Embedder>> {
        self.capabilities.embedder.as_ref().ok_or_else(|| self.lacks(Capability::Embedder))
    }

    /// Follows objects through video.
    ///
    /// # Errors
    /// As [`Model::image_encoder`].
    pub fn tracker(&self) -> Result<&Arc<dyn Tracker>> {
        self.capabilities.tracker.as_ref().ok_or_else(|| self.lacks(Capability::Tracker))
    }

    fn lacks(&self, capability: Capability) -> Error {
        let capable: Vec<&str> = CatalogueEntry::with(capability).map(|entry| entry.id).collect();
        let capable = match capable.is_empty() {
            true => "no model of the catalogue has one".to_owned(),
            false => format!("models that have one: {}", capable.join(", ")),
        };
        Error::Capability { family: self.family.to_string(), capability: capability.to_string(), capable }
    }
}
