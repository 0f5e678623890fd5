//! From a row per query to a lane per query and back, in whole tiles.

use crate::simd::Simd;

/// A matrix in scratch memory.
pub(crate) struct Turned<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
}

impl Turned<'_> {
    /// Transposes `rows` rows of `columns` numbers, both rounded up to whole vectors, to rows of `to_stride` numbers.
    ///
    /// # Panics
    /// When a tile does not begin inside the matrix.
    ///
    /// # Safety
    /// Whole tiles must be readable and, in `to`, writable.
    #[inline(always)]
    pub(crate) unsafe fn transpose<S: Simd>(
        &self,
        s: S,
        rows: usize,
        columns: usize,
        to: &mut [f32],
        to_stride: usize,
    ) {
        let mut tile = [std::ptr::null(); 16];
        for column in (0..columns).step_by(S::LANES) {
            for row in (0..rows).step_by(S::LANES) {
                for (i, from) in tile[..S::LANES].iter_mut().enumerate() {
                    *from = self.values[(row + i) * self.stride + column..].as_ptr();
                }
                // SAFETY: the caller's promise.
                unsafe { s.transpose(&tile, to[column * to_stride + row..].as_mut_ptr(), to_stride) };
            }
        }
    }
}
