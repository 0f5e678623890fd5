//! Answers to prompts, dropped when their image changes.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::codec::Codec;
use super::stats::CacheStats;
use super::store::Store;
use super::view::{FeatureCache, KindLimits};
use crate::contents::{Key, KeyBuilder, Origin};

/// Bounds of a [`PredictionCache`]; bytes are those of its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PredictionLimits {
    /// Most answers.
    pub max_entries: usize,
    /// What is older is asked anew.
    pub max_age: Option<Duration>,
}

impl Default for PredictionLimits {
    fn default() -> Self {
        Self { max_entries: 50, max_age: None }
    }
}

/// Answers to prompts (document 002): least recently used go, 50 by default, and all of an image when it changes.
#[derive(Debug, Clone)]
pub struct PredictionCache<V: Any + Send + Sync> {
    view: FeatureCache<V>,
}

impl<V: Any + Send + Sync> PredictionCache<V> {
    /// The kind under which answers lie in a store.
    pub const KIND: &'static str = "predictions";

    /// The answers of a store, in memory.
    pub fn new(store: &Arc<Store>, codec: impl Codec<V> + 'static, limits: PredictionLimits) -> Self {
        let PredictionLimits { max_entries, max_age } = limits;
        let limits = KindLimits { max_entries, max_age, to_disk: false, ..KindLimits::default() };
        Self { view: FeatureCache::new(store, Self::KIND, codec).with_limits(limits) }
    }

    fn key(image: Key, prompt: Key) -> Key {
        let key = KeyBuilder::new("samovar prediction 1");
        key.part("image", image.as_bytes()).part("prompt", prompt.as_bytes()).finish()
    }

    /// The answer to a prompt on an image.
    pub fn get(&self, image: Key, prompt: Key) -> Option<Arc<V>> {
        self.view.get(&Self::key(image, prompt))
    }

    /// Keeps an answer. All cost the same, so those go that were not used for longest.
    pub fn set(&self, image: Key, prompt: Key, answer: Arc<V>) {
        let origin = Origin { image: Some(image), model: None };
        self.view.set(Self::key(image, prompt), origin, Duration::ZERO, answer);
    }

    /// The image is another now: its answers go.
    pub fn invalidate(&self, image: Key) {
        self.view.invalidate_image(image);
    }

    /// All answers go.
    pub fn clear(&self) {
        self.view.clear();
    }

    /// What was asked so far.
    pub fn stats(&self) -> CacheStats {
        self.view.stats()
    }
}
