//! Products of numbers that are narrower than a lane: what attention at reduced precision is written against.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512_bf16;

use super::Simd;

/// Instructions that multiply groups of narrow numbers and add the products in f32. As with [`Simd`], a value is proof
/// that the machine has them.
///
/// Lanes with narrow numbers are kept in the vectors (and the memory) of f32, whose bits they are.
pub(crate) trait Product: Copy + Send + Sync + 'static {
    /// The instructions for everything else.
    type S: Simd;

    /// Numbers in a lane.
    const GROUP: usize;

    /// The instructions for everything else.
    fn simd(self) -> Self::S;

    /// Runs `f`, an `#[inline(always)]` closure, compiled with these instructions.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;

    /// `sums + Σ a · b` over the numbers of each lane.
    fn dot(
        self,
        sums: <Self::S as Simd>::V,
        a: <Self::S as Simd>::V,
        b: <Self::S as Simd>::V,
    ) -> <Self::S as Simd>::V;

    /// `LANES` groups of consecutive numbers, of which a row has `n` left; the others are 0.
    ///
    /// # Safety
    /// `n` numbers must be readable, up to `GROUP · LANES`.
    unsafe fn take(self, from: *const f32, n: usize) -> <Self::S as Simd>::V;

    /// Packs a row of `n` numbers; what is left of its last vector becomes 0.
    ///
    /// # Safety
    /// `n` numbers must be readable, and `n / GROUP` lanes, rounded up to whole vectors, writable.
    #[inline(always)]
    unsafe fn pack_row(self, from: *const f32, n: usize, to: *mut f32) {
        let whole = Self::GROUP * Self::S::LANES;
        for i in (0..n).step_by(whole) {
            // SAFETY: the caller's promise.
            unsafe { self.simd().store(to.add(i / Self::GROUP), self.take(from.add(i), whole.min(n - i))) };
        }
    }

    /// Lane by lane, a number of each vector as a group. Vectors beyond the group are not looked at.
    fn join(self, parts: [<Self::S as Simd>::V; 2]) -> <Self::S as Simd>::V;

    /// 2ˣ for x <= 126, as exact as the narrow numbers are; below −126 it is about 1e-38.
    fn exp2(self, x: <Self::S as Simd>::V) -> <Self::S as Simd>::V;
}
