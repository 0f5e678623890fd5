//! The smallest and largest logit that each 64 pixels of a row can be made of.

use std::ops::Range;

/// Rounding in a pixel's value, relative to the largest logit in it: six products and their sums, with room to spare.
const ROUNDING: f32 = 4e-6;

/// The smallest and largest of some logits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Bounds {
    /// Of no logits.
    pub(super) const NONE: Self = Self { low: f32::INFINITY, high: f32::NEG_INFINITY };

    pub(super) fn and(self, other: Self) -> Self {
        Self { low: smaller(self.low, other.low), high: larger(self.high, other.high) }
    }

    /// The same, widened by what rounding can do to a value in between.
    pub(super) fn widened(self) -> Self {
        let slack = self.low.abs().max(self.high.abs()) * ROUNDING;
        Self { low: self.low - slack, high: self.high + slack }
    }
}

// One vector instruction each, unlike `f32::min`, which has to think of NaN. A NaN spoils the bounds or is passed
// over; both are as good as anything where logits are NaN.
#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Finds bounds of overlapping ranges of a row. Level `k` holds, per column, those of the `2^k` columns from there
/// on; any range is covered by two entries of one level.
pub(super) struct BoundsFinder {
    lows: Vec<Vec<f32>>,
    highs: Vec<Vec<f32>>,
}

impl BoundsFinder {
    pub(super) fn new(ranges: &[Range<usize>]) -> Self {
        let longest = ranges.iter().map(Range::len).max().unwrap_or(1).max(1);
        let levels = longest.ilog2() as usize + 1;
        Self { lows: vec![Vec::new(); levels], highs: vec![Vec::new(); levels] }
    }

    /// Appends the bounds of each range of `row`. No range may be empty.
    pub(super) fn find(&mut self, row: &[f32], ranges: &[Range<usize>], bounds: &mut Vec<Bounds>) {
        self.lows[0].clear();
        self.lows[0].extend_from_slice(row);
        self.highs[0].clone_from(&self.lows[0]);
        for level in 1..self.lows.len() {
            let half = 1 << (level - 1);
            let (done, open) = self.lows.split_at_mut(level);
            widen_lows(&done[level - 1], half, &mut open[0]);
            let (done, open) = self.highs.split_at_mut(level);
            widen_highs(&done[level - 1], half, &mut open[0]);
        }
        bounds.extend(ranges.iter().map(|range| {
            let level = range.len().max(1).ilog2() as usize;
            let (first, last) = (range.start, range.end - (1 << level));
            Bounds {
                low: smaller(self.lows[level][first], self.lows[level][last]),
                high: larger(self.highs[level][first], self.highs[level][last]),
            }
        }));
    }
}

fn widen_lows(narrow: &[f32], half: usize, wide: &mut Vec<f32>) {
    wide.clear();
    wide.extend(narrow.iter().zip(&narrow[half..]).map(|(&a, &b)| smaller(a, b)));
}

fn widen_highs(narrow: &[f32], half: usize, wide: &mut Vec<f32>) {
    wide.clear();
    wide.extend(narrow.iter().zip(&narrow[half..]).map(|(&a, &b)| larger(a, b)));
}
