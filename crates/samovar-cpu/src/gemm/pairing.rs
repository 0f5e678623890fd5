//! What products in pairs need of their operands: common sizes, and the corrections that take away what pairs add beside the
//! product; see [`crate::simd::paired`].

use std::ops::Range;

use crate::gemm::cut::{Part, cut};
use crate::gemm::micro::panel_columns;
use crate::simd::Simd;
use crate::simd::paired::{CHUNK, PERIOD, SIGNS, VECTORS};

/// Most depth of a step; a tile is stored once in each. Its rows and its panel come from L2.
pub(crate) const DEPTH: usize = 768;

/// The depth steps.
pub(crate) fn steps(depth: usize) -> impl Iterator<Item = (Range<usize>, Part)> {
    cut(depth, DEPTH, CHUNK)
}

/// Rows of a packed panel: whole periods.
pub(crate) const fn panel_rows(depth: usize) -> usize {
    depth.next_multiple_of(PERIOD)
}

/// Rows of [`crate::gemm::pack::PanelNumbers`] of a panel.
pub(crate) fn number_rows(depth: usize) -> usize {
    2 + steps(depth).count()
}

/// The power of 2 that brings numbers of this mean size to 1..2, and its inverse. Of sizes that f32 hardly has, the
/// nearest common one; whatever is no number gets 1.
#[inline(always)]
pub(crate) fn factor(mean: f32) -> [f32; 2] {
    let exponent = (mean.to_bits() >> 23) as i32 - 127;
    // A sum of finite numbers may be infinite.
    let exponent = if mean > 0.0 { exponent.clamp(-120, 120) } else { 0 };
    [-exponent, exponent].map(|n| f32::from_bits(((n + 127) as u32) << 23))
}

/// How the columns of a panel are prepared.
#[derive(Clone, Copy)]
pub(crate) struct Prepare {
    /// The mean size of a column will lie between this and twice this, a power of 2.
    pub(crate) size: f32,
    /// All columns have the same factor.
    pub(crate) together: bool,
    /// The panel is multiplied with the factors; or will be when it is used.
    pub(crate) now: bool,
}

/// Makes a packed panel ready: its columns are brought to common sizes, and `numbers` get, row by row, the factors that do
/// so, their inverses, and the corrections of each depth step.
///
/// # Safety
/// The panel must have [`panel_rows`], and the numbers [`number_rows`].
#[inline(always)]
pub(crate) unsafe fn prepare_panel<S: Simd>(
    s: S,
    panel: *mut f32,
    depth: usize,
    how: Prepare,
    numbers: &mut [f32],
) {
    let width = panel_columns::<S>();
    // SAFETY: the caller's promise.
    unsafe {
        let mut sizes = [0.0; VECTORS * CHUNK];
        for first in (0..width).step_by(S::LANES) {
            // Several sums at once: additions take longer than loads.
            let mut sums = [s.splat(0.0); PERIOD];
            for i in (0..panel_rows(depth)).step_by(PERIOD) {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = s.add(*sum, s.abs(s.load(panel.add((i + j) * width + first))));
                }
            }
            let sum = sums.into_iter().fold(
                s.splat(0.0),
                #[inline(always)]
                |all, sum| s.add(all, sum),
            );
            s.store(sizes[first..].as_mut_ptr(), sum);
        }
        if how.together {
            let mean = sizes[..width].iter().sum::<f32>() / width as f32;
            sizes[..width].fill(mean);
        }
        for (i, sum) in sizes.into_iter().enumerate().take(width) {
            let [up, down] = factor(sum / depth as f32);
            (numbers[i], numbers[width + i]) = (up * how.size, down / how.size);
        }
        for first in (0..width).step_by(S::LANES) {
            let up = s.load(numbers[first..].as_ptr());
            for (step, (depth, _)) in steps(depth).enumerate() {
                let mut sum = s.splat(0.0);
                for i in (depth.start..panel_rows(depth.end)).step_by(PERIOD) {
                    let mut y = [s.splat(0.0); PERIOD];
                    for (j, y) in y.iter_mut().enumerate() {
                        let at = panel.add((i + j) * width + first);
                        *y = s.mul(s.load(at), up);
                        if how.now {
                            s.store(at, *y);
                        }
                    }
                    sum = s.fma(y[0], y[1], sum);
                    sum = s.sub(sum, s.mul(y[2], y[3]));
                }
                s.store(numbers[(2 + step) * width + first..].as_mut_ptr(), sum);
            }
        }
    }
}

/// Two vectors of numbers with the other sign.
#[inline(always)]
pub(crate) fn negated<S: Simd>(s: S, numbers: &[f32]) -> [S::V; VECTORS] {
    let numbers = &numbers[..VECTORS * S::LANES];
    std::array::from_fn(
        #[inline(always)]
        // SAFETY: the slice is that long.
        |v| s.sub(s.splat(0.0), unsafe { s.load(numbers.as_ptr().add(v * S::LANES)) }),
    )
}

/// The correction of a row, in whole vectors.
///
/// # Safety
/// The row must be readable.
#[inline(always)]
pub(crate) unsafe fn row_correction<S: Simd>(s: S, row: *const f32, len: usize) -> f32 {
    let mut sums = [s.splat(0.0); 2];
    let (mut i, mut sign) = (0, 0);
    while i < len {
        // SAFETY: the caller's promise.
        unsafe {
            let x = s.load(row.add(i));
            let sum = s.fma(s.mul(x, s.swap_pairs(x)), s.load(SIGNS.as_ptr().add(sign)), sums[0]);
            sums = [sums[1], sum];
        }
        i += S::LANES;
        sign = if sign + S::LANES == CHUNK { 0 } else { sign + S::LANES };
    }
    s.sum(s.add(sums[0], sums[1]))
}
