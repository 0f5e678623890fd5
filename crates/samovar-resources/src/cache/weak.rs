//! Values that somebody else holds, to be shared while they live.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::contents::Key;

/// Values by key for as long as anybody holds them: pictures at display resolution (document 002). Takes no memory but
/// that of its keys.
#[derive(Debug)]
pub struct WeakCache<V> {
    values: Mutex<Values<V>>,
}

#[derive(Debug)]
struct Values<V> {
    by_key: HashMap<Key, Weak<V>>,
    /// Keys at which those of dropped values are looked for.
    sweep_at: usize,
}

impl<V> Default for WeakCache<V> {
    fn default() -> Self {
        Self { values: Mutex::new(Values { by_key: HashMap::new(), sweep_at: 64 }) }
    }
}

impl<V> WeakCache<V> {
    /// The value, if anybody holds it.
    pub fn get(&self, key: &Key) -> Option<Arc<V>> {
        self.lock().by_key.get(key)?.upgrade()
    }

    /// Knows a value from now on.
    pub fn set(&self, key: Key, value: &Arc<V>) {
        let mut values = self.lock();
        if values.by_key.len() >= values.sweep_at {
            values.by_key.retain(|_, value| value.strong_count() > 0);
            values.sweep_at = 64.max(2 * values.by_key.len());
        }
        values.by_key.insert(key, Arc::downgrade(value));
    }

    /// The value, made if nobody holds it.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get_or_make<E>(&self, key: Key, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        if let Some(value) = self.get(&key) {
            return Ok(value);
        }
        let value = Arc::new(make()?);
        self.set(key, &value);
        Ok(value)
    }

    /// How many values live.
    pub fn len(&self) -> usize {
        self.lock().by_key.values().filter(|value| value.strong_count() > 0).count()
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Values<V>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_live_as_long_as_somebody_holds_them() {
        let cache = WeakCache::default();
        let key = Key::of_content(b"picture");
        let held = cache.get_or_make(key, || Ok::<_, ()>(7)).unwrap();
        assert!(Arc::ptr_eq(&held, &cache.get_or_make(key, || Err(())).unwrap()));
        drop(held);
        assert!(cache.get(&key).is_none() && cache.is_empty());
        for number in 0..10_000u32 {
            cache.set(Key::of_content(&number.to_le_bytes()), &Arc::new(0));
        }
        assert!(cache.lock().by_key.len() <= 64, "keys of dropped values do not pile up");
    }
}
