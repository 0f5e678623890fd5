//! What commands on images begin with: who listens, the engine, the settings, and with them the cache and the model.

use anyhow::Result;
use samovar::resources::instruments::Events;
use samovar::{Engine, LazyImage, Model, PictureWork, Recommendations, Reservation};

use crate::cache_args::{Cache, CacheArgs};
use crate::model_args::{ModelArgs, resolve};
use crate::settings::Settings;

/// A command at work.
pub struct Session<'a> {
    model: &'a ModelArgs,
    cache: &'a CacheArgs,
    /// Who listens.
    pub events: Events,
    /// What computes.
    pub engine: Engine,
    /// What preset, environment and flags say together.
    pub settings: Settings,
}

impl<'a> Session<'a> {
    /// With an engine, and no model yet.
    pub fn start(model: &'a ModelArgs, cache: &'a CacheArgs) -> Result<Self> {
        let events = cache.events()?;
        let engine = model.engine_telling(events.clone())?;
        Ok(Self { model, cache, events, engine, settings: model.settings()? })
    }

    /// What the model's authors recommend, before it is loaded.
    pub fn recommendations(&self) -> Result<Recommendations> {
        Ok(resolve(&self.model.model)?.open()?.config.recommendations())
    }

    /// Room for a picture beside the model, before either is read.
    pub fn reserve_picture(&self, image: &LazyImage, work: PictureWork) -> Result<Reservation> {
        self.model.reserve_picture(&self.engine, image, work)
    }

    /// The cache for one image, or for many, and the model that keeps there what it finds.
    pub fn load(&self, is_single: bool) -> Result<(Option<Cache>, Model)> {
        let source = resolve(&self.model.model)?;
        let cache = self.cache.open(self.settings.clone(), is_single, &source, &self.events)?;
        let model = self.model.load_with(&self.engine, cache.as_ref())?;
        Ok((cache, model))
    }
}
