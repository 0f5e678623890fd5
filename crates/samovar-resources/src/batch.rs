//! Many items: in batches whose size follows memory, and through stages that overlap.

mod pipeline;
mod processor;
mod tuning;

pub use pipeline::{Pipeline, StageTime, StageTimes};
pub use processor::{BatchOptions, BatchProcessor, BatchReport, Retry};
pub use tuning::{Tuned, find_optimal_batch_size};
