//! What DAVIS says about the figures of an object's frames: mean, recall, decay.

use serde::Serialize;

/// A figure over the frames of an object, or its mean over objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// Mean over the frames.
    pub mean: f64,
    /// Share of the frames in which it is over 0.5.
    pub recall: f64,
    /// Mean of the first quarter of the frames less that of the last: what is lost on the way.
    pub decay: f64,
}

impl Statistics {
    /// `db_statistics` of davis2017-evaluation's `utils.py`, but for sequences of more than 256 frames, whose quarters that one
    /// gets wrong (it numbers frames in 8 bits). Quarters share the frame between them.
    pub(super) fn of(values: &[f64]) -> Self {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let quarter = |index: usize| {
            // Frame numbers from 1, in equal steps; halves are rounded up.
            let at = 1.0 + values.len().saturating_sub(1) as f64 / 4.0 * index as f64;
            (at + 1e-10).round_ties_even() as usize - 1
        };
        let last = values.len().saturating_sub(1);
        let part = |from: usize, to: usize| values.get(from..=to.min(last)).unwrap_or_default();
        let recall = values.iter().filter(|&&value| value > 0.5).count() as f64 / values.len().max(1) as f64;
        let decay = mean(part(quarter(0), quarter(1))) - mean(part(quarter(3), last));
        Self { mean: mean(values), recall, decay }
    }

    /// Mean of each over objects.
    pub(super) fn mean(all: &[Self]) -> Self {
        let mean =
            |figure: &dyn Fn(&Self) -> f64| all.iter().map(figure).sum::<f64>() / all.len().max(1) as f64;
        Self { mean: mean(&|one| one.mean), recall: mean(&|one| one.recall), decay: mean(&|one| one.decay) }
    }
}
