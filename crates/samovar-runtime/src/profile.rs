//! Where time and memory go: an instrument that adds up operator calls, keeps them one by one if asked to, and knows what this
//! machine could do at most.

mod ceilings;
mod recording;
mod times;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use ceilings::{Bound, Roof, Roofline};
pub use samovar_cpu::{Ceilings, Route, RouteUse};
use samovar_resources::instruments::Trace;
use samovar_tensor::{Instrument, Pool, Span};

use recording::Recording;
pub use recording::{Stage, StageUse};
pub use times::OperatorTime;

/// The sums by stage and operator.
pub type OperatorTimes = BTreeMap<(&'static str, &'static str), OperatorTime>;

/// Adds up the calls it is told about.
#[derive(Default)]
pub struct Profiler {
    operators: Mutex<OperatorTimes>,
    recording: Option<Recording>,
}

impl Profiler {
    /// A profiler with nothing in it; hand it to [`crate::Engine::with_instrument`].
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// One that also adds up stages, and how much of `pool` was in use meanwhile, and with `keeps_calls` keeps every call, for
    /// traces. It resets the pool's peak again and again, which whoever else reads that should know.
    pub fn recording(pool: &Arc<Pool>, keeps_calls: bool) -> Arc<Self> {
        Arc::new(Self { operators: Mutex::default(), recording: Some(Recording::new(pool, keeps_calls)) })
    }

    /// Bytes of the host that keeping so many calls takes, and making a trace or a flame graph of them.
    pub fn recording_bytes(calls: usize) -> usize {
        recording::bytes_of(calls)
    }

    /// The sums by stage and operator so far; the profiler starts again at nothing.
    pub fn take(&self) -> OperatorTimes {
        std::mem::take(&mut *self.operators.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a round: one span of the trace, which holds those of its stages.
    pub fn round<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.recording {
            Some(recording) => recording.round(work),
            None => work(),
        }
    }

    /// Time and memory of the stages in all rounds so far, in the order in which they first came; empty unless recording. A
    /// stage lasts from the start of its first call to the end of its last, as long as no other stage comes between.
    pub fn stages(&self) -> Vec<StageUse> {
        self.recording.as_ref().map(Recording::stages).unwrap_or_default()
    }

    /// Rounds so far and their time; zero unless recording.
    pub fn rounds(&self) -> (usize, Duration) {
        self.recording.as_ref().map(Recording::rounds).unwrap_or_default()
    }

    /// All rounds so far: round, stage, operator, and the memory of the pool; empty unless calls are kept.
    pub fn trace(&self, process: &str) -> Trace {
        self.recording.as_ref().map(|recording| recording.trace(process)).unwrap_or_default()
    }
}

impl Instrument for Profiler {
    fn record(&self, span: &Span) {
        if let Some(recording) = &self.recording {
            recording.record(span);
        }
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = operators.entry((span.stage, span.op)).or_default();
        sum.calls += 1;
        sum.duration += span.duration;
        sum.cost += span.cost;
    }
}

#[cfg(test)]
mod tests;
