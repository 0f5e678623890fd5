//! One kind of value in a [`Store`].

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::codec::{Codec, Decoded};
use super::disk::Selection;
use super::memory_tier::Value;
use super::stats::CacheStats;
use super::store::{Answer, Decode, Store, downcast};
use crate::contents::{Key, Origin};

/// Bounds of one kind of value, within those of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindLimits {
    /// Most entries in memory.
    pub max_entries: usize,
    /// What is older is made anew.
    pub max_age: Option<Duration>,
    /// Whether values go to disk too.
    pub to_disk: bool,
    /// What took less to make does not go there.
    pub least_cost_on_disk: Duration,
}

impl Default for KindLimits {
    fn default() -> Self {
        Self { max_entries: usize::MAX, max_age: None, to_disk: true, least_cost_on_disk: Duration::ZERO }
    }
}

/// A cache of one kind of value (document 000): embeddings of images, features of text, answers to prompts. A view of a
/// [`Store`], whose budget all kinds share. Cheap to clone; all methods may be called from any number of threads.
///
/// ```
/// use samovar_resources::cache::{FeatureCache, Key, MemoryOnly, Origin, Store, StoreOptions};
///
/// let store = Store::new(StoreOptions::default());
/// let cache = FeatureCache::new(&store, "squares", MemoryOnly(|_: &u64| 8));
/// let key = Key::of_content(b"12");
/// for _ in 0..2 {
///     let square = cache.get_or_compute(key, Origin::default(), || Ok::<_, ()>(12 * 12))?;
///     assert_eq!(*square, 144);
/// }
/// assert_eq!((cache.stats().hits(), cache.stats().misses), (1, 1));
/// # Ok::<(), ()>(())
/// ```
pub struct FeatureCache<V> {
    store: Arc<Store>,
    kind: &'static str,
    codec: Arc<dyn Codec<V>>,
    limits: KindLimits,
}

impl<V> Clone for FeatureCache<V> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            kind: self.kind,
            codec: Arc::clone(&self.codec),
            limits: self.limits,
        }
    }
}

impl<V: Any + Send + Sync> FeatureCache<V> {
    /// The values of one kind: all views of a kind must hold the same type. The kind's name is that of a folder on disk:
    /// letters, digits and `-`.
    pub fn new(store: &Arc<Store>, kind: &'static str, codec: impl Codec<V> + 'static) -> Self {
        Self { store: Arc::clone(store), kind, codec: Arc::new(codec), limits: KindLimits::default() }
    }

    /// The same, with these bounds.
    #[must_use]
    pub fn with_limits(self, limits: KindLimits) -> Self {
        Self { limits, ..self }
    }

    /// The value of a key, from memory or disk.
    pub fn get(&self, key: &Key) -> Option<Arc<V>> {
        self.get_if(key, |_| true)
    }

    /// The same for keys that do not tell all about their value: one that is not wanted any more goes, and is a miss.
    pub fn get_if(&self, key: &Key, is_wanted: impl Fn(&V) -> bool) -> Option<Arc<V>> {
        let is_wanted = |value: &Value| value.downcast_ref::<V>().is_some_and(&is_wanted);
        let decode = |bytes: &[u8]| match self.codec.decode(bytes) {
            Decoded::Value(value) => {
                let size_bytes = self.codec.size_bytes(&value);
                Decoded::Value((Arc::new(value) as Value, size_bytes))
            }
            Decoded::Foreign => Decoded::Foreign,
            Decoded::NoRoom => Decoded::NoRoom,
        };
        let decode: Option<&Decode<'_>> = if self.limits.to_disk { Some(&decode) } else { None };
        match self.store.find((self.kind, *key), self.limits.max_age, decode, &is_wanted)? {
            Answer::Memory(value) | Answer::Disk(value) => downcast(value),
        }
    }

    /// Keeps a value that took `cost` to make: the dearer per byte, the longer it stays.
    pub fn set(&self, key: Key, origin: Origin, cost: Duration, value: Arc<V>) {
        let address = (self.kind, key);
        let bytes = self.codec.size_bytes(&value);
        if self.limits.to_disk
            && cost >= self.limits.least_cost_on_disk
            && self.store.has_disk()
            && let Some(payload) = self.codec.encode(&value)
        {
            self.store.write(address, &payload, cost, origin);
        }
        self.store.insert(address, value, bytes, cost, origin, self.limits.max_entries);
    }

    /// Keeps a value in the place of another one of the same key: for keys that do not tell all about their value.
    pub(super) fn renew(&self, key: Key, origin: Origin, value: Arc<V>) {
        self.store.forget((self.kind, key));
        self.set(key, origin, Duration::ZERO, value);
    }

    /// The value of a key; what is not there is made, once, however many ask at the same time.
    ///
    /// # Errors
    /// Those of `compute`, which are not remembered.
    pub fn get_or_compute<E>(
        &self,
        key: Key,
        origin: Origin,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<Arc<V>, E> {
        if let Some(value) = self.get(&key) {
            return Ok(value);
        }
        let making = self.store.begin_making((self.kind, key));
        if making.has_waited
            && let Some(value) = self.get(&key)
        {
            return Ok(value);
        }
        let began = Instant::now();
        let value = Arc::new(compute()?);
        self.set(key, origin, began.elapsed(), Arc::clone(&value));
        Ok(value)
    }

    /// Removes all values of this kind, from memory and disk.
    pub fn clear(&self) {
        self.store.clear(&Selection { kind: Some(self.kind.to_owned()), ..Selection::default() });
    }

    /// Removes what was made of an image, which is another now.
    pub fn invalidate_image(&self, image: Key) {
        let kind = Some(self.kind.to_owned());
        self.store.clear(&Selection { kind, image: Some(image), ..Selection::default() });
    }

    /// What this kind has seen.
    pub fn stats(&self) -> CacheStats {
        self.store.stats(Some(self.kind))
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

impl<V: Any + Send + Sync> fmt::Debug for FeatureCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeatureCache({}: {})", self.kind, self.stats())
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
