//! What happened, when, and how long it took: events as JSON lines, timed operations, latencies.

mod events;
mod timing;

pub use events::{EventSink, Events, JsonLines};
pub use timing::{Latencies, Quantiles, TimedOperation, timed_operation};
