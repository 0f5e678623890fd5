//! What happened, when, and how long it took: events as JSON lines, timed operations, latencies, traces.

mod events;
mod flame_graph;
mod processor_time;
mod timing;
mod trace;

pub use events::{EventSink, Events, JsonLines};
pub use processor_time::{processor_time, thread_time};
pub use timing::{Latencies, Quantiles, TimedOperation, timed_operation};
pub use trace::{Trace, TraceSample, TraceSpan};
