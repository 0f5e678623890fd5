//! One cache, content-addressed, over memory and disk, and views of it.
//!
//! ```text
//! FeatureCache<V> ─┐                       ┌─ Memory tier: byte budget, entries by cost and use
//! PredictionCache ─┼─ Store (KIND, Key) ───┤
//! cached(f) ───────┘                       └─ Disk tier: byte budget, shared by processes, every entry checked
//! WeakCache<V> ───── what somebody else holds
//! ```
//!
//! A [`Key`] is made of everything that made the value: an entry under other pixels, weights or settings is never asked
//! for, so nothing has to be believed but checksums.

mod cached;
mod codec;
mod content;
mod disk;
mod entry_file;
mod memory_tier;
mod prediction;
mod stats;
mod store;
mod view;
mod weak;

pub use cached::cached;
pub use codec::{Codec, Decoded, MemoryOnly};
pub use content::content_keys;
pub use disk::{DiskOptions, Selection, Verification};
pub use prediction::{PredictionCache, PredictionLimits};
pub use stats::CacheStats;
pub use store::{Store, StoreOptions};
pub use view::{FeatureCache, KindLimits};
pub use weak::WeakCache;

pub use crate::contents::{Key, KeyBuilder, Origin};
