//! From a model's name to a model on an engine: opened, planned, admitted, and only then read.

use std::sync::Arc;

use samovar_media::LazyImage;
use samovar_models::{Model as Network, Parts};
use samovar_tensor::Precision;

use crate::admission::Reservation;
use crate::detection::{DetectorModel, DetectorPlan};
use crate::encoder_slot::EncoderSlot;
use crate::engine::{Engine, Options};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::picture_bytes::{PictureWork, of_image};
use crate::planning::{Planner, check_loads, check_picture};
use crate::source::{ModelSource, OpenedModel};
use crate::tracker_slot::TrackerSlot;

impl Engine {
    /// Loads a model by name (see [`ModelSource::resolve`]); those of the hub from [`Options::hub_cache`].
    ///
    /// # Errors
    /// [`Error::UnknownModel`], [`Error::DoesNotFit`] before
    /// anything is read, [`Error::Model`] when the file is not what it should be.
    pub fn load(&self, name: &str) -> Result<Model> {
        self.load_from(&ModelSource::resolve(name, self.hub_cache())?)
    }

    /// Loads a model from where it lies.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn load_from(&self, source: &ModelSource) -> Result<Model> {
        let (opened, precision, planner) = self.open_admitted(source)?;
        let network = self.load_parts(&opened, precision, Parts::IMAGES)?;
        let model = Model::new(self.clone(), network, planner, source.name(), precision)?;
        Ok(self.with_tracker(model, source, &opened, precision).with_notes(opened.weights.notes()))
    }

    /// Loads what answers prompts, and the encoder when an image first needs it: with a cache of features
    /// ([`Model::with_cache`]) that may be never. The files must stay as they are meanwhile.
    ///
    /// # Errors
    /// As [`Engine::load`]; those of the encoder's weights come with the first image.
    pub fn load_when_needed(&self, source: &ModelSource) -> Result<Model> {
        let (opened, precision, planner) = self.open_admitted(source)?;
        let network = self.load_parts(&opened, precision, Parts::PROMPTABLE_SEGMENTER)?;
        let (engine, source_again) = (self.clone(), source.clone());
        let encoder = EncoderSlot::when_needed(self, &source.name(), move || {
            let opened = source_again.open()?;
            let network = engine.load_parts(&opened, precision, Parts::IMAGE_ENCODER)?;
            let encoder =
                network.image_encoder().map_err(|lacks| Error::from(lacks).of_model(source_again.name()))?;
            Ok(Arc::clone(encoder))
        });
        let (name, preprocessing) = (source.name(), opened.config.preprocessing());
        let model =
            Model::with_encoder(self.clone(), network, encoder, preprocessing, planner, name, precision)?;
        Ok(self.with_tracker(model, source, &opened, precision).with_notes(opened.weights.notes()))
    }

    /// The model with its tracker, if it has one. The files must stay as they are until it is loaded.
    fn with_tracker(
        &self,
        model: Model,
        source: &ModelSource,
        opened: &OpenedModel,
        precision: Precision,
    ) -> Model {
        match opened.config.can_track() {
            true => model.with_tracker(TrackerSlot::of(self, source, opened.config.clone(), precision)),
            false => model,
        }
    }

    /// A model that may be loaded: opened, planned and found to fit.
    fn open_admitted(&self, source: &ModelSource) -> Result<(OpenedModel, Precision, Planner)> {
        let (opened, precision, planner) = self.plan(source)?;
        self.admit_loading(source, &planner)?;
        Ok((opened, precision, planner))
    }

    fn load_parts(&self, opened: &OpenedModel, precision: Precision, parts: Parts) -> Result<Network> {
        self.device().reserve()?;
        let device = self.device().stage("load").with_weight_precision(precision);
        Ok(Network::load_parts(&device, &opened.config, &opened.weights, parts)?)
    }

    /// Loads a detector by name (see [`ModelSource::resolve`]); those of the hub from [`Options::hub_cache`].
    ///
    /// # Errors
    /// As [`Engine::load`]; [`Error::Usage`] for a model that is no detector.
    pub fn load_detector(&self, name: &str) -> Result<DetectorModel> {
        self.load_detector_from(&ModelSource::resolve(name, self.hub_cache())?)
    }

    /// Loads a detector from where it lies: planned on shapes alone, found to fit, and only then read.
    ///
    /// # Errors
    /// As [`Engine::load_detector`].
    pub fn load_detector_from(&self, source: &ModelSource) -> Result<DetectorModel> {
        let opened = source.open()?;
        let precision = self.precision_of(&opened)?;
        let named = |error: Error| error.of_model(source.name());
        let plan =
            DetectorPlan::of(self.device(), &opened.config, &opened.weights, precision).map_err(named)?;
        self.admit(source, |what, budget_bytes, taken_bytes| {
            check_loads(what, plan.detect(), plan.peak_bytes(), budget_bytes, taken_bytes)
        })?;
        let network = self.load_parts(&opened, precision, Parts::IMAGES)?;
        let detector = network.detector().map_err(|lacks| named(lacks.into()))?;
        Ok(DetectorModel::new(self.clone(), Arc::clone(detector), plan, source.name(), precision)
            .with_notes(opened.weights.notes()))
    }

    fn admit_loading(&self, source: &ModelSource, planner: &Planner) -> Result<()> {
        self.admit(source, |what, budget_bytes, taken_bytes| {
            planner.admit_loading(what, budget_bytes, taken_bytes)
        })
    }

    /// Asks, with the name, the budget, and what others have of it, whether a model may be loaded.
    fn admit(&self, source: &ModelSource, fits: impl Fn(String, usize, usize) -> Result<()>) -> Result<()> {
        self.begin("loading a model")?;
        let admit = || {
            // Scratch memory that is in use already is counted in the plan.
            let in_use_bytes = self.device().pool().stats().in_use_bytes;
            let taken_bytes = in_use_bytes.saturating_sub(self.device().reserved_bytes());
            fits(source.name(), self.budget_bytes(), taken_bytes)
        };
        self.with_room(admit).map_err(|error| error.of_model(source.name()))
    }

    fn precision_of(&self, opened: &OpenedModel) -> Result<Precision> {
        match self.precision() {
            Some(precision) => Ok(precision),
            None => opened.stored_precision(),
        }
    }

    fn plan(&self, source: &ModelSource) -> Result<(OpenedModel, Precision, Planner)> {
        let opened = source.open()?;
        let precision = self.precision_of(&opened)?;
        let planner = Planner::new(self.device(), &opened.config, precision)
            .map_err(|error| error.of_model(source.name()))?;
        Ok((opened, precision, planner))
    }

    /// Room for a picture, and what is made of it, beside a model that is not loaded yet, before either is read.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`], [`Error::Media`] for a header that cannot be
    /// read, and what the model's file is refused for.
    pub fn reserve_picture(
        &self,
        source: &ModelSource,
        image: &LazyImage,
        work: impl Into<PictureWork>,
    ) -> Result<Reservation> {
        let (needs, what) = of_image(image, work)?;
        let planner = self.plan(source)?.2;
        // Without the picture it would not fit either, and there is more to say about that; what would do is said with it.
        self.admit_loading(source, &planner).map_err(|error| error.with(&what, needs.peak_bytes()))?;
        let beside_bytes = planner.peak_bytes()?;
        self.hold(needs.peak_bytes(), |memory, _| check_picture(&what, &needs, beside_bytes, memory))
    }

    /// The refusal of a model, as one that names what it needs together with the largest of some pictures, what is made of it, and
    /// `beside_bytes` for the list of all: that is what to ask for. Pictures whose headers cannot be read do not count, and other errors stay as they are.
    #[must_use]
    pub fn refusal_with_largest(
        refusal: Error,
        images: impl IntoIterator<Item = LazyImage>,
        work: PictureWork,
        beside_bytes: usize,
    ) -> Error {
        if refusal.needed_bytes().is_none() {
            return refusal;
        }
        let all = images.into_iter().filter_map(|image| of_image(&image, work).ok());
        match all.max_by_key(|(needs, _)| needs.peak_bytes()) {
            Some((needs, what)) => {
                refusal.with(&what, needs.peak_bytes()).with("the list of all", beside_bytes)
            }
            None => refusal,
        }
    }
}

impl Model {
    /// Loads a model by name onto an engine of its own that uses the whole machine: the defaults of [`Options`]. `nano` is
    /// always there; a name of the hub takes an engine that knows the hub's cache.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn load(name: &str) -> Result<Self> {
        Engine::new(Options::default())?.load(name)
    }
}
