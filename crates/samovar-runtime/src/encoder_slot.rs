//! A model's image encoder: there from the start, or loaded when an image first needs it.
//!
//! The encoder is nearly all of a model. Prompts on images whose features are kept need none of it, and a model that lies
//! idle can do without: its weights come back from the mapped file.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use samovar_models::ImageEncoder;

use crate::error::Result;

/// What is in a slot.
#[derive(Default)]
struct Slot {
    encoder: Option<Arc<dyn ImageEncoder>>,
    /// How many hold it there.
    pins: usize,
}

type Load = dyn Fn() -> Result<Arc<dyn ImageEncoder>> + Send + Sync;

/// Where a model's encoder is, if it is anywhere.
pub(crate) struct EncoderSlot {
    /// The lock is held while loading: whoever needs the encoder too waits for it.
    slot: Mutex<Slot>,
    load: Option<Box<Load>>,
}

impl EncoderSlot {
    /// An encoder that is there, for good.
    pub(crate) fn of(encoder: Arc<dyn ImageEncoder>) -> Arc<Self> {
        Arc::new(Self { slot: Mutex::new(Slot { encoder: Some(encoder), pins: 0 }), load: None })
    }

    /// An encoder that `load` brings when it is needed.
    pub(crate) fn when_needed(
        load: impl Fn() -> Result<Arc<dyn ImageEncoder>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { slot: Mutex::default(), load: Some(Box::new(load)) })
    }

    /// The encoder, loaded if it is not there.
    pub(crate) fn get(&self) -> Result<Arc<dyn ImageEncoder>> {
        self.get_into(&mut self.lock())
    }

    fn get_into(&self, slot: &mut Slot) -> Result<Arc<dyn ImageEncoder>> {
        if let Some(encoder) = &slot.encoder {
            return Ok(Arc::clone(encoder));
        }
        let load = self.load.as_ref().expect("a slot without a way to load has its encoder from the start");
        let encoder = load()?;
        slot.encoder = Some(Arc::clone(&encoder));
        Ok(encoder)
    }

    /// Whether the encoder is there.
    pub(crate) fn is_loaded(&self) -> bool {
        self.lock().encoder.is_some()
    }

    /// Keeps the encoder there, loading it if need be, until the value is dropped.
    pub(crate) fn pin(self: &Arc<Self>) -> Result<EncoderPin> {
        let mut slot = self.lock();
        self.get_into(&mut slot)?;
        slot.pins += 1;
        Ok(EncoderPin(Arc::clone(self)))
    }

    /// Lets go of an encoder that can be loaded again and that nobody pins; work under way keeps it to its end. Says whether
    /// it did.
    pub(crate) fn unload(&self) -> bool {
        let mut slot = self.lock();
        self.load.is_some() && slot.pins == 0 && slot.encoder.take().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps an encoder where it is while this lives.
pub(crate) struct EncoderPin(Arc<EncoderSlot>);

impl Drop for EncoderPin {
    fn drop(&mut self) {
        self.0.lock().pins -= 1;
    }
}
