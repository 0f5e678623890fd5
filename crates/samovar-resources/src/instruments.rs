//! What happened, when, and how long it took: events as JSON lines, timed operations, latencies, traces.

mod events;
mod flame_graph;
mod timing;
mod trace;

pub use events::{EventSink, Events, JsonLines};
pub use timing::{Latencies, Quantiles, TimedOperation, timed_operation};
pub use trace::{Trace, TraceSample, TraceSpan};
