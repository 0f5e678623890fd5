//! The roofline: how long an operator must take at least on this machine, and what it is that holds it up.

use std::time::{Duration, Instant};

use samovar_cpu::Ceilings;
use samovar_tensor::{Device, Precision};

use super::times::OperatorTime;
use crate::engine::Engine;
use crate::error::Result;
use crate::planning::does_not_fit;

/// What a piece of work cannot be faster than (Williams, Waterman and Patterson, "Roofline", 2009; overhead is ours).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Arithmetic, at the peak of its kind of numbers.
    Compute,
    /// Moving operands and results through memory once.
    Memory,
    /// Calling: checks, memory of the result, handing over to threads.
    Overhead,
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Bound::Compute => "compute",
            Bound::Memory => "memory",
            Bound::Overhead => "overhead",
        })
    }
}

/// The ceiling of some calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roof {
    /// Which of them it is.
    pub bound: Bound,
    /// Seconds they take at least.
    pub seconds: f64,
    /// Kind of numbers whose peak was taken.
    pub numbers: &'static str,
}

/// The ceilings of this machine as a model meets them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roofline {
    /// As measured.
    pub ceilings: Ceilings,
    /// Seconds of a call that does nothing.
    pub call_s: f64,
    /// Of the backend.
    pub threads: usize,
    /// In which weights are held.
    pub precision: Precision,
}

/// Calls that are timed to know what one costs, the quickest of several series.
const CALLS: u32 = 200;
const SERIES: u32 = 10;

/// Work of a single thread that is handed over to others at all, about.
const LEAST_SHARED_S: f64 = 20e-6;

impl Roofline {
    /// Measures this machine, each ceiling for about `limit`, for a model with weights in this precision.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] on other devices than processors, [`crate::Error::Cpu`], and [`crate::Error::DoesNotFit`] when
    /// what is copied does not.
    pub fn measure(engine: &Engine, precision: Precision, limit: Duration) -> Result<Self> {
        let kernels = engine.cpu()?;
        let what = "measuring how fast memory is copied";
        engine.device().reserve().map_err(|error| match error {
            samovar_tensor::Error::OutOfMemory { needed_bytes, .. } => {
                let all_bytes = needed_bytes.saturating_add(Ceilings::BYTES);
                does_not_fit(what.to_owned(), all_bytes, &engine.device().pool().stats())
            }
            other => other.into(),
        })?;
        let _room = engine.set_aside(what, Ceilings::BYTES)?;
        let ceilings = kernels.measure_ceilings(limit)?;
        let call_s = door_seconds(engine.device())?;
        Ok(Self { ceilings, call_s, threads: engine.threads(), precision })
    }

    /// The best of two measurements of one machine: what else it does makes ceilings lower than they are, and never higher.
    #[must_use]
    pub fn best(self, other: &Self) -> Self {
        let (a, b) = (self.ceilings, other.ceilings);
        let ceilings = Ceilings {
            f32_per_s: a.f32_per_s.max(b.f32_per_s),
            int8_per_s: a.int8_per_s.max(b.int8_per_s),
            bf16_per_s: a.bf16_per_s.zip(b.bf16_per_s).map(|(a, b)| a.max(b)),
            bytes_per_s: a.bytes_per_s.max(b.bytes_per_s),
            hand_over_s: a.hand_over_s.min(b.hand_over_s),
        };
        Self { ceilings, call_s: self.call_s.min(other.call_s), ..self }
    }

    /// By which share two measurements of one machine differ at most, in arithmetic or memory: 0 for not at all.
    pub fn difference(&self, other: &Self) -> f64 {
        let (a, b) = (self.ceilings, other.ceilings);
        let bf16 = a.bf16_per_s.zip(b.bf16_per_s);
        [(a.f32_per_s, b.f32_per_s), (a.int8_per_s, b.int8_per_s), (a.bytes_per_s, b.bytes_per_s)]
            .into_iter()
            .chain(bf16)
            .map(|(a, b)| 1.0 - a.min(b) / a.max(b).max(f64::MIN_POSITIVE))
            .fold(0.0, f64::max)
    }

    /// The fastest kind of numbers that an operator may use, and their peak in operations per second. With int8, dense layers
    /// whose errors would reach the masks stay f32, and attention multiplies in bf16 where the machine can.
    pub fn peak(&self, op: &str) -> (&'static str, f64) {
        let Ceilings { f32_per_s, int8_per_s, bf16_per_s, .. } = self.ceilings;
        let f32 = ("f32", f32_per_s);
        if self.precision != Precision::Int8 {
            return f32;
        }
        let own = match op {
            "linear" | "conv2d" => ("int8", int8_per_s),
            op if op.contains("attention") => bf16_per_s.map_or(f32, |peak| ("bf16", peak)),
            _ => f32,
        };
        if own.1 > f32.1 { own } else { f32 }
    }

    /// The least that some calls of an operator can take.
    pub fn roof(&self, op: &str, time: &OperatorTime) -> Roof {
        let (numbers, peak) = self.peak(op);
        let (compute_s, memory_s) =
            (time.cost.operations as f64 / peak, time.cost.bytes as f64 / self.ceilings.bytes_per_s);
        let calls = time.calls as f64;
        let is_shared = compute_s.max(memory_s) * self.threads as f64 > LEAST_SHARED_S * calls;
        let call_s = self.call_s + if is_shared { self.ceilings.hand_over_s } else { 0.0 };
        let bounds =
            [(Bound::Compute, compute_s), (Bound::Memory, memory_s), (Bound::Overhead, calls * call_s)];
        let (bound, seconds) = bounds.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(bounds[0]);
        Roof { bound, seconds, numbers }
    }
}

/// Seconds of the smallest operator there is.
pub(super) fn door_seconds(device: &Device) -> Result<f64> {
    let row = device.upload([2, 1], &[0.0; 2])?;
    let mut best = f64::INFINITY;
    for _ in 0..SERIES {
        let start = Instant::now();
        for _ in 0..CALLS {
            device.slice(&row, 0, 0, 1)?;
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(CALLS));
    }
    Ok(best)
}
