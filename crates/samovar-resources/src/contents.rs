//! What files hold and what makes values, as keys: hashes that are made once and trusted while a file stays as it is.

mod files;
mod identity;
mod key;

pub use files::{ContentKeys, ContentMemory, Remembered, RunMemory};
pub use identity::Identity;
pub use key::{Key, KeyBuilder, KeyHasher, Origin};
