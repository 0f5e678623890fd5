//! Where time goes: an instrument that adds up operator calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use samovar_cpu::{Route, RouteUse};
use samovar_tensor::{Cost, Instrument, Span};

/// Calls of one operator in one stage.
#[derive(Debug, Clone, Copy, Default)]
pub struct OperatorTime {
    /// Number of calls.
    pub calls: u64,
    /// Their time together.
    pub duration: Duration,
    /// Their arithmetic and memory traffic.
    pub cost: Cost,
}

/// Adds up the calls it is told about.
#[derive(Default)]
pub struct Profiler {
    operators: Mutex<BTreeMap<(&'static str, &'static str), OperatorTime>>,
}

impl Profiler {
    /// A profiler with nothing in it; hand it to [`crate::Engine::with_instrument`].
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The sums by stage and operator so far; the profiler starts again at nothing.
    pub fn take(&self) -> BTreeMap<(&'static str, &'static str), OperatorTime> {
        std::mem::take(&mut *self.operators.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Instrument for Profiler {
    fn record(&self, span: &Span) {
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = operators.entry((span.stage, span.op)).or_default();
        sum.calls += 1;
        sum.duration += span.duration;
        sum.cost += span.cost;
    }
}
