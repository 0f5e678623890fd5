//! A model's image encoder: there from the start, or loaded when an image first needs it.
//!
//! The encoder is nearly all of a model. Prompts on images whose features are kept need none of it, and a model that lies
//! idle can do without: its weights come back from the mapped file.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use samovar_models::ImageEncoder;
use samovar_resources::memory::{MemoryLevel, Reclaim};

use crate::engine::Engine;
use crate::error::Result;

/// What is in a slot.
#[derive(Default)]
struct Slot {
    encoder: Option<Arc<dyn ImageEncoder>>,
    /// How many hold it there.
    pins: usize,
    last_use: Option<Instant>,
}

type Load = dyn Fn() -> Result<Arc<dyn ImageEncoder>> + Send + Sync;

/// Where a model's encoder is, if it is anywhere.
pub(crate) struct EncoderSlot {
    /// The lock is held while loading: whoever needs the encoder too waits for it.
    slot: Mutex<Slot>,
    /// How it can be had again.
    again: Option<Again>,
}

struct Again {
    load: Box<Load>,
    /// For the log.
    name: String,
    /// How long it may lie idle.
    unload_after: Duration,
    /// Whose memory it is in.
    engine: Engine,
}

impl EncoderSlot {
    /// An encoder that is there, for good.
    pub(crate) fn of(encoder: Arc<dyn ImageEncoder>) -> Arc<Self> {
        Arc::new(Self { slot: Mutex::new(Slot { encoder: Some(encoder), ..Slot::default() }), again: None })
    }

    /// The encoder of a model of some name, which `load` brings when it is needed. It goes when it lies idle for too long, and
    /// when memory gets scarce.
    pub(crate) fn when_needed(
        engine: &Engine,
        model: &str,
        load: impl Fn() -> Result<Arc<dyn ImageEncoder>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (name, unload_after) = (format!("encoder of {model}"), engine.unload_after());
        let again = Again { load: Box::new(load), name, unload_after, engine: engine.clone() };
        let slot = Arc::new(Self { slot: Mutex::default(), again: Some(again) });
        engine.memory().register(&slot);
        slot
    }

    /// The encoder, loaded if it is not there.
    pub(crate) fn get(&self) -> Result<Arc<dyn ImageEncoder>> {
        self.get_into(&mut self.lock())
    }

    fn get_into(&self, slot: &mut Slot) -> Result<Arc<dyn ImageEncoder>> {
        slot.last_use = Some(Instant::now());
        if let Some(encoder) = &slot.encoder {
            return Ok(Arc::clone(encoder));
        }
        let again = self.again.as_ref().expect("a slot without a way to load has its encoder from the start");
        let encoder = (again.load)()?;
        // Loading may have taken long.
        slot.last_use = Some(Instant::now());
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
        self.again.is_some() && slot.pins == 0 && slot.encoder.take().is_some()
    }

    /// Lets go of an encoder that nobody works with now, and that was not used for so long; says how many bytes it had.
    fn unload_idle(&self, least_idle: Duration) -> usize {
        let Some(again) = &self.again else { return 0 };
        let mut slot = match self.slot.try_lock() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // It is just being loaded.
            Err(TryLockError::WouldBlock) => return 0,
        };
        let is_idle = slot.last_use.is_none_or(|at| at.elapsed() >= least_idle);
        if !is_idle || slot.pins > 0 || slot.encoder.as_ref().is_none_or(|held| Arc::strong_count(held) > 1) {
            return 0;
        }
        let in_use = || again.engine.device().pool().stats().in_use_bytes;
        let before = in_use();
        slot.encoder = None;
        before.saturating_sub(in_use())
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reclaim for EncoderSlot {
    fn name(&self) -> &str {
        self.again.as_ref().map_or("encoder", |again| &again.name)
    }

    fn acts_from(&self) -> MemoryLevel {
        MemoryLevel::Critical
    }

    fn reclaim(&self, _: MemoryLevel) -> usize {
        self.unload_idle(Duration::ZERO)
    }

    fn look(&self, _: usize, _: MemoryLevel) {
        let Some(again) = &self.again else { return };
        let freed_bytes = self.unload_idle(again.unload_after);
        if freed_bytes > 0 {
            again.engine.device().pool().trim();
            let event = || [("model", again.name.clone().into()), ("freed_bytes", freed_bytes.into())];
            again.engine.events().emit("model_unloaded", event);
        }
    }
}

/// Keeps an encoder where it is while this lives.
pub(crate) struct EncoderPin(Arc<EncoderSlot>);

impl Drop for EncoderPin {
    fn drop(&mut self) {
        self.0.lock().pins -= 1;
    }
}
