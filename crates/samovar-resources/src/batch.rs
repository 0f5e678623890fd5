//! Many items: in batches whose size follows memory, and side by side on workers that share what computes.

mod processor;
mod size;
mod tuning;
mod workers;

pub use processor::{BatchOptions, BatchProcessor, BatchReport};
pub use size::Retry;
pub use tuning::{Tuned, find_optimal_batch_size};
pub use workers::{ItemEvent, StageTime, Worker, WorkerOptions, Workers, WorkersReport};
