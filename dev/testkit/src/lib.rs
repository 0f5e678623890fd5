//! Test kit: tolerances, generated cases; used by tests only.
//!
//! [`operators::Suite`] runs every operator of a backend against the scalar reference, over one set of generated
//! cases, and names the cases that fail. A backend's test is one line per way to run it.

mod memory;
pub mod operators;
mod poison;
mod random;
mod tolerance;

pub use memory::{MeteredAllocator, cpu_time, peak_bytes};
pub use random::Random;
pub use tolerance::Tolerance;
