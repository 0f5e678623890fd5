//! What runs on this machine now: each process publishes figures of itself, and others read them.
//!
//! A [`Publisher`] writes one small JSON file into a folder about once a second, whole or not at all, and removes it in the end;
//! [`running`] reads them all, and removes those whose processes are gone. Publishing never fails and never waits for the work it
//! tells of: what cannot be written is not told.

mod publisher;
mod running;
mod snapshot;

pub use publisher::Publisher;
pub use running::running;
pub use snapshot::{CacheFigures, Snapshot, Work};

#[cfg(test)]
#[path = "live/live_tests.rs"]
mod tests;
