//! Memory watched, caches, batches, journals and instruments; knows no tensors and no pictures.
//!
//! # Map
//!
//! | module | what |
//! |---|---|
//! | [`batch`] | items in batches that follow memory: [`BatchProcessor`](batch::BatchProcessor); stages that overlap |
//! | [`cache`] | one cache over memory and disk: [`FeatureCache`](cache::FeatureCache), [`PredictionCache`](cache::PredictionCache) |
//! | [`contents`] | what files hold, hashed once: [`Key`](contents::Key), [`ContentKeys`](contents::ContentKeys) |
//! | [`disk`] | what is free on the disk of a folder |
//! | [`instruments`] | events as JSON lines, timed operations, latencies, traces |
//! | [`journal`] | what a job has finished: [`JournalWriter`](journal::JournalWriter) |
//! | [`live`] | what runs on this machine now: [`Publisher`](live::Publisher), [`running`](live::running) |
//! | [`memory`] | [`MemoryManager`](memory::MemoryManager): figures, levels, clean-up |

#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod batch;
pub mod cache;
pub mod contents;
pub mod disk;
pub mod instruments;
pub mod journal;
pub mod live;
pub mod memory;
