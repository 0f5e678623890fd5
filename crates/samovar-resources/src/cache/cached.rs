//! Any function, remembered.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::codec::MemoryOnly;
use super::store::Store;
use super::view::{FeatureCache, KindLimits};
use crate::contents::{Key, Origin};

/// A function whose answers are kept in memory (document 000's `@cached`). `name` is the function's own: two functions of
/// one name share their answers. `size_bytes` tells what an answer takes.
///
/// ```
/// use samovar_resources::cache::{Store, StoreOptions, cached};
///
/// let store = Store::new(StoreOptions::default());
/// let product = cached(&store, "product", |_| 8, |&(x, y): &(u64, u64)| x * y);
/// assert_eq!((*product(&(5, 10)), *product(&(5, 10))), (50, 50)); // computed once
/// assert_eq!(store.stats(None).hits(), 1);
/// ```
pub fn cached<A: Hash, V: Any + Send + Sync>(
    store: &Arc<Store>,
    name: &'static str,
    size_bytes: impl Fn(&V) -> usize + Send + Sync + 'static,
    f: impl Fn(&A) -> V,
) -> impl Fn(&A) -> Arc<V> {
    let limits = KindLimits { to_disk: false, ..KindLimits::default() };
    let view = FeatureCache::new(store, name, MemoryOnly(size_bytes)).with_limits(limits);
    move |argument| {
        let made = view.get_or_compute(key_of(argument), Origin::default(), || Ok::<_, Never>(f(argument)));
        match made {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }
}

enum Never {}

/// A hash of all bytes that a value hashes: not of 64 bits, which meet sooner or later.
fn key_of(value: &impl Hash) -> Key {
    struct All(blake3::Hasher);
    impl Hasher for All {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            0
        }
    }
    let mut all = All(blake3::Hasher::new());
    value.hash(&mut all);
    Key::from_bytes(*all.0.finalize().as_bytes())
}
