//! The door for instruments: what every operator call reports.

use std::time::Duration;

use crate::{Cost, Shape};

/// One operator call.
#[derive(Debug, Clone)]
pub struct Span {
    /// Operator, as in [`crate::Kernels`].
    pub op: &'static str,
    /// Stage of the model that made the call (see [`crate::Device::stage`]).
    pub stage: &'static str,
    /// Shape of the result.
    pub output: Shape,
    /// Arithmetic and memory traffic.
    pub cost: Cost,
    /// Wall time; zero on the shape-only device.
    pub duration: Duration,
}

/// Receives a [`Span`] after every operator call: profiler, dry run, copy counter.
pub trait Instrument: Send + Sync {
    /// Called on the thread that made the call, after the operator finished.
    fn record(&self, span: &Span);
}
