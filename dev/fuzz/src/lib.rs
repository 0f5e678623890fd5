//! Fuzz targets: what reads untrusted bytes must neither panic nor allocate without bound.
//!
//! A target is a function of bytes ([`TARGETS`]). Three things run it:
//!
//! - `cargo test`: all seeds and found inputs of `corpus/`, and a fixed number of seeded mutations of them;
//! - `cargo run --release -p samovar-fuzz -- --seconds 60 [TARGET…]`: the same, for as long as one likes;
//! - `dev/fuzz/libfuzzer/run.sh TARGET [SECONDS]`: libFuzzer, guided by coverage. It works on stable Rust and wants a
//!   C++ compiler.
//!
//! Each input is judged by [`Harness`]: no panic, no more memory than [`Target::memory_bytes`] allows, no more than
//! [`MAX_TIME`].

mod harness;
mod mutate;
mod png;
mod targets;

pub use harness::{Failure, Harness, MAX_TIME, Report};
pub use mutate::Mutator;
pub use samovar_testkit::MeteredAllocator;
pub use targets::{TARGETS, Target};
