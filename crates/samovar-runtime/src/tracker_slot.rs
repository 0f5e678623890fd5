//! A model's tracker: loaded when a video is opened, and gone with the last one.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use samovar_models::{ModelConfig, Parts, Tracker};
use samovar_tensor::Precision;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::source::ModelSource;
use crate::tracker_plan::TrackerPlan;

/// Where a tracker comes from.
pub(crate) struct TrackerSlot {
    engine: Engine,
    source: ModelSource,
    config: ModelConfig,
    precision: Precision,
    loaded: Mutex<Option<Loaded>>,
}

/// A tracker that may still be there, and its plan.
struct Loaded {
    tracker: Weak<dyn Tracker>,
    plan: Arc<TrackerPlan>,
}

impl TrackerSlot {
    /// The tracker of a model's files, in this precision.
    pub(crate) fn of(
        engine: &Engine,
        source: &ModelSource,
        config: ModelConfig,
        precision: Precision,
    ) -> Self {
        let (engine, source) = (engine.clone(), source.clone());
        Self { engine, source, config, precision, loaded: Mutex::default() }
    }

    /// The tracker, loaded if it is not there.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`] before anything is read, [`Error::Model`] when the file is not what it should be.
    pub(crate) fn get(&self) -> Result<(Arc<dyn Tracker>, Arc<TrackerPlan>)> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match &*loaded {
            Some(Loaded { tracker, plan }) => match tracker.upgrade() {
                Some(tracker) => return Ok((tracker, Arc::clone(plan))),
                None => Arc::clone(plan),
            },
            None => Arc::new(TrackerPlan::new(self.engine.device(), &self.config, self.precision)?),
        };
        self.engine.begin("loading a tracker")?;
        let promise = self.engine.enter(|memory| Ok(((), plan.admit_loading(memory)?)));
        let (_, _promise) = promise.map_err(|error| error.of_model(self.source.name()))?;
        let opened = self.source.open()?;
        let device = self.engine.device().stage("load").with_weight_precision(self.precision);
        let network =
            samovar_models::Model::load_parts(&device, &opened.config, &opened.weights, Parts::TRACKER)?;
        let lacks = |lacks: samovar_models::Error| Error::from(lacks).of_model(self.source.name());
        let tracker = Arc::clone(network.tracker().map_err(lacks)?);
        *loaded = Some(Loaded { tracker: Arc::downgrade(&tracker), plan: Arc::clone(&plan) });
        Ok((tracker, plan))
    }
}
