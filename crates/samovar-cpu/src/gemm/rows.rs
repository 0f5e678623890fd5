//! Rows that are multiplied: a matrix in memory, or whatever can copy rows of one.

use std::ops::Range;

use crate::simd::{Simd, put, take};

/// Rows that are multiplied with the weights.
pub(crate) trait RowSource: Sync {
    /// Copies columns `depth` of `rows` to `to`, one row every `stride` numbers.
    ///
    /// # Safety
    /// As many rows must be writable there.
    unsafe fn copy<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        depth: Range<usize>,
        to: *mut f32,
        stride: usize,
    );

    /// Where columns from `depth` on of the rows from `row` on lie, and the distance of rows, if they do.
    #[inline(always)]
    fn in_place(&self, _row: usize, _depth: Range<usize>) -> Option<(*const f32, usize)> {
        None
    }
}

/// A matrix in memory.
pub(crate) struct Matrix<'a> {
    pub(crate) values: &'a [f32],
    /// Numbers from one row to the next.
    pub(crate) stride: usize,
}

impl RowSource for Matrix<'_> {
    #[inline(always)]
    fn in_place(&self, row: usize, depth: Range<usize>) -> Option<(*const f32, usize)> {
        Some((self.values[row * self.stride + depth.start..].as_ptr(), self.stride))
    }

    #[inline(always)]
    unsafe fn copy<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        depth: Range<usize>,
        to: *mut f32,
        stride: usize,
    ) {
        for (r, row) in rows.enumerate() {
            let from = &self.values[row * self.stride..][depth.clone()];
            // SAFETY: the caller's promise.
            unsafe { copy_row(s, from, to.add(r * stride)) };
        }
    }
}

/// Copies a row; shorter than a call to the library for the lengths that occur.
///
/// # Safety
/// `from.len()` numbers must be writable at `to`.
#[inline(always)]
pub(crate) unsafe fn copy_row<S: Simd>(s: S, from: &[f32], to: *mut f32) {
    let whole = from.len() / S::LANES * S::LANES;
    // SAFETY: the caller's promise; `whole` and the rest make up the length.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            s.store(to.add(i), s.load(from.as_ptr().add(i)));
        }
        let rest = from.len() - whole;
        if rest > 0 {
            put(s, to.add(whole), take(s, from.as_ptr().add(whole), rest), rest);
        }
    }
}
