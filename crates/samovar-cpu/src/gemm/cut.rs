//! How sizes are cut into steps, and how far apart rows are kept.

use std::ops::Range;

/// Most depth one step takes: a strip of it fits L1.
pub(crate) const DEPTH: usize = 512;

/// The row stride for rows of `len` numbers: an odd number of cache lines, so that the rows of a strip never share L1
/// sets.
pub(crate) const fn odd_lines(len: usize) -> usize {
    (len.div_ceil(16) | 1) * 16
}

/// Which of the depth steps a tile comes from.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) first: bool,
    pub(crate) last: bool,
}

/// A product in one step, and operators that have none.
pub(crate) const WHOLE: Part = Part { first: true, last: true };

/// The largest step up to `most` that cuts `count` into equal parts.
pub(crate) fn balanced(count: usize, most: usize) -> usize {
    count.div_ceil(count.div_ceil(most).max(1)).max(1)
}

/// Cuts a depth into steps of nearly equal length; at least one, so that a product over nothing is still written.
pub(crate) fn steps(depth: usize) -> impl Iterator<Item = (Range<usize>, Part)> {
    cut(depth, DEPTH, 16)
}

/// The same with steps of at most `most`, all but the last a multiple of `unit`.
pub(crate) fn cut(depth: usize, most: usize, unit: usize) -> impl Iterator<Item = (Range<usize>, Part)> {
    let step = depth.div_ceil(depth.div_ceil(most).max(1)).next_multiple_of(unit);
    let count = depth.div_ceil(step.max(1)).max(1);
    (0..count).map(move |i| {
        let part = Part { first: i == 0, last: i + 1 == count };
        (i * step..((i + 1) * step).min(depth), part)
    })
}
