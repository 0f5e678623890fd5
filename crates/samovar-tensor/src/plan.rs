//! The dry run: the same model code on shapes alone, and what it adds up to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Cost, Instrument, Precision, Span};

/// Calls and cost of one operator within one stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpTotal {
    /// Number of calls.
    pub calls: u64,
    /// Sum of their cost.
    pub cost: Cost,
}

/// What a piece of work will take: known before any of it is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Bytes of the weights, as the device holds them.
    pub weight_bytes: usize,
    /// Those of them that are packed for products, by the precision they are held in; the others are f32.
    pub packed_bytes: [(Precision, usize); 4],
    /// Largest number of bytes beside the weights while they are loaded.
    pub load_bytes: usize,
    /// Largest number of bytes live at once beside the weights.
    pub activation_bytes: usize,
    /// Scratch memory of the backend.
    pub scratch_bytes: usize,
    /// Totals by (stage, operator).
    pub operators: BTreeMap<(&'static str, &'static str), OpTotal>,
}

impl Plan {
    /// All bytes the device needs at the worst moment.
    pub fn peak_bytes(&self) -> usize {
        self.weight_bytes + self.load_bytes.max(self.activation_bytes) + self.scratch_bytes
    }

    /// Bytes of the weights by their type, [`DType::F32`](crate::DType::F32) last of those that are there.
    pub fn weights_by_precision(&self) -> Vec<(Precision, usize)> {
        let packed: usize = self.packed_bytes.iter().map(|(_, bytes)| bytes).sum();
        let rest = self.weight_bytes.saturating_sub(packed);
        let with_rest = |&(precision, bytes): &(Precision, usize)| {
            (precision, bytes + if precision == Precision::F32 { rest } else { 0 })
        };
        self.packed_bytes.iter().map(with_rest).filter(|(_, bytes)| *bytes > 0).rev().collect()
    }

    /// Cost of everything.
    pub fn cost(&self) -> Cost {
        let mut sum = Cost::default();
        self.operators.values().for_each(|total| sum += total.cost);
        sum
    }
}

/// The instrument of the shape-only device: adds up what passes the door.
#[derive(Default)]
pub struct ShapeOnly {
    operators: Mutex<BTreeMap<(&'static str, &'static str), OpTotal>>,
}

impl ShapeOnly {
    /// A recorder with nothing in it.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The totals so far; the recorder starts again at nothing.
    pub fn take(&self) -> BTreeMap<(&'static str, &'static str), OpTotal> {
        std::mem::take(&mut *self.operators.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Instrument for ShapeOnly {
    fn record(&self, span: &Span) {
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        let total = operators.entry((span.stage, span.op)).or_default();
        total.calls += 1;
        total.cost += span.cost;
    }
}
