//! A model's image encoder: there from the start, or loaded when an image first needs it.
//!
//! The encoder is nearly all of a model. Prompts on images whose features are kept need none of it, and a model that lies
//! idle can do without: its weights come back from the mapped file.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use samovar_models::ImageEncoder;

use crate::error::Result;

type Load = dyn Fn() -> Result<Arc<dyn ImageEncoder>> + Send + Sync;

/// Where a model's encoder is, if it is anywhere.
pub(crate) struct EncoderSlot {
    /// The lock is held while loading: whoever needs the encoder too waits for it.
    loaded: Mutex<Option<Arc<dyn ImageEncoder>>>,
    load: Option<Box<Load>>,
}

impl EncoderSlot {
    /// An encoder that is there, for good.
    pub(crate) fn of(encoder: Arc<dyn ImageEncoder>) -> Arc<Self> {
        Arc::new(Self { loaded: Mutex::new(Some(encoder)), load: None })
    }

    /// An encoder that `load` brings when it is needed.
    pub(crate) fn when_needed(
        load: impl Fn() -> Result<Arc<dyn ImageEncoder>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { loaded: Mutex::default(), load: Some(Box::new(load)) })
    }

    /// The encoder, loaded if it is not there.
    pub(crate) fn get(&self) -> Result<Arc<dyn ImageEncoder>> {
        let mut loaded = self.lock();
        if let Some(encoder) = &*loaded {
            return Ok(Arc::clone(encoder));
        }
        let load = self.load.as_ref().expect("a slot without a way to load has its encoder from the start");
        let encoder = load()?;
        *loaded = Some(Arc::clone(&encoder));
        Ok(encoder)
    }

    /// Whether the encoder is there.
    pub(crate) fn is_loaded(&self) -> bool {
        self.lock().is_some()
    }

    /// Lets go of an encoder that can be loaded again; work under way keeps it to its end. Says whether there was one.
    pub(crate) fn unload(&self) -> bool {
        self.load.is_some() && self.lock().take().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn ImageEncoder>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
