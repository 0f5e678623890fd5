//! Test kit: tolerances, generated cases; used by tests only.
//!
//! [`operators::Suite`] runs every operator of a backend against the scalar reference, over one set of generated
//! cases, and names the cases that fail. A backend's test is one line per way to run it. [`remote::Remote`] is a device
//! whose memory the host cannot read.

mod ffmpeg;
mod memory;
pub mod operators;
mod poison;
mod random;
pub mod remote;
mod shortened;
mod tolerance;
mod vulkan;

pub use ffmpeg::has_ffmpeg;
pub use memory::{MeteredAllocator, cpu_time, peak_bytes, process_bytes};
pub use poison::Poisoned;
pub use random::Random;
pub use shortened::Shortened;
pub use tolerance::Tolerance;
pub use vulkan::graphics;
