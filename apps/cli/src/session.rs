//! What commands on images begin with: who listens, the engine, the settings, and with them the cache and the model.

use anyhow::Result;
use samovar::forecast::job_bytes;
use samovar::resources::instruments::Events;
use samovar::{Engine, LazyImage, Model, PictureWork, Recommendations, Reservation};

use crate::batch::Source;
use crate::cache_args::{Cache, CacheArgs};
use crate::inputs::InputImage;
use crate::model_args::{ModelArgs, resolve};
use crate::settings::Settings;

/// Images whose size is looked at to say what would do.
const MOST_ASKED: usize = 1000;

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

    /// [`Session::load`] for many images. Where memory is too little for the model, it is refused with what the largest of them needs.
    pub fn load_for(
        &self,
        images: &[InputImage],
        source: Source,
        work: PictureWork,
    ) -> Result<(Option<Cache>, Model)> {
        self.load(false).map_err(|error| match error.downcast::<samovar::Error>() {
            Ok(refusal) => {
                let limits = *self.engine.decode_limits();
                // One frame is as large as the next.
                let most = if matches!(source, Source::Shot(_)) { 1 } else { MOST_ASKED };
                let pictures = images.iter().take(most).map(|input| source.open(input, limits));
                Engine::refusal_with_largest(refusal, pictures, work, job_bytes(images.len())).into()
            }
            Err(other) => other,
        })
    }

    /// The cache for one image, or for many, and the model that keeps there what it finds.
    pub fn load(&self, is_single: bool) -> Result<(Option<Cache>, Model)> {
        let source = resolve(&self.model.model)?;
        let cache = self.cache.open(self.settings.clone(), is_single, &source, &self.events)?;
        let model = self.model.load_with(&self.engine, cache.as_ref())?;
        Ok((cache, model))
    }
}
