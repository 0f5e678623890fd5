//! Vectors of f32: one small trait, four instruction sets, so that every algorithm is written once.
//!
//! A value of a type that implements [`Simd`] is proof that the machine has the instructions: it is only made by
//! [`crate::dispatch`] for the level that [`crate::CpuKernels`] checked. That is why arithmetic is safe to call, and only
//! pointers are not.
//!
//! Rust compiles vector code well only inside functions marked with the target features. So kernels are
//! `#[inline(always)]` functions generic over `S: Simd`, and enter through [`Simd::vectorize`], whose
//! implementation carries the features.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod dot;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod paired;
#[cfg(target_arch = "x86_64")]
pub(crate) mod product;
pub(crate) mod scalar;

/// Instructions on vectors of [`Simd::LANES`] f32.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// A vector.
    type V: Copy;

    /// Numbers in a vector.
    const LANES: usize;

    /// Rows of the largest matrix tile (two vectors wide) whose sums stay in registers.
    const ROWS: usize;

    /// Runs `f`, an `#[inline(always)]` closure, compiled with these instructions.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;

    /// The same number in every lane.
    fn splat(self, x: f32) -> Self::V;

    /// `LANES` numbers from any address.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load(self, from: *const f32) -> Self::V;

    /// `LANES` numbers to any address.
    ///
    /// # Safety
    /// They must be writable.
    unsafe fn store(self, to: *mut f32, v: Self::V);

    /// The first `n <= LANES` numbers, the other lanes 0.
    ///
    /// # Safety
    /// `n` numbers must be readable.
    unsafe fn load_part(self, from: *const f32, n: usize) -> Self::V;

    /// The first `n <= LANES` lanes.
    ///
    /// # Safety
    /// `n` numbers must be writable.
    unsafe fn store_part(self, to: *mut f32, v: Self::V, n: usize);

    /// `LANES` half precision numbers from any address.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_f16(self, from: *const u16) -> Self::V;

    /// `LANES` bfloat16 numbers from any address.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_bf16(self, from: *const u16) -> Self::V;

    /// a + b
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a − b
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a / b
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b + c, in one rounding where the instruction set has it
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; `b` when one of them is not a number
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; `b` when one of them is not a number
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// |v|
    fn abs(self, v: Self::V) -> Self::V;
    /// To the nearest integer, halves to even
    fn round(self, v: Self::V) -> Self::V;
    /// `v · 2ⁿ` for integers `n` in −126..=127
    fn scale(self, v: Self::V, n: Self::V) -> Self::V;
    /// The lanes of every pair, exchanged
    fn swap_pairs(self, v: Self::V) -> Self::V;
    /// Sum of the lanes
    fn sum(self, v: Self::V) -> f32;
    /// Largest lane
    fn largest(self, v: Self::V) -> f32;

    /// Asks for the cache line at an address that will be written soon. Any address is fine.
    #[inline(always)]
    fn prefetch_to_write(self, _: *const f32) {}

    /// Asks for the cache line at an address that will be read in a while, into L2. Any address is fine.
    #[inline(always)]
    fn prefetch_to_read(self, _: *const f32) {}

    /// Sums of products of a tile of [`paired::ROWS`] rows and [`paired::VECTORS`] vectors of columns, over `periods` times
    /// [`paired::PERIOD`] steps of depth, before corrections; see [`paired`]. At least one period. Sums begin with `start`.
    /// Rows lie `ROW` numbers apart; where a row is longer than its whole periods, the next such piece of all rows follows. On
    /// the way a cache line per period is asked for from `next` on, any address.
    ///
    /// # Safety
    /// `a` must be readable for all rows in pieces of `ROW` numbers, `b` for a row of columns per step.
    #[inline(always)]
    unsafe fn paired_sums<const ROW: usize>(
        self,
        start: [Self::V; paired::VECTORS],
        periods: usize,
        a: *const f32,
        b: *const f32,
        _next: *const f32,
    ) -> paired::Sums<Self::V> {
        let width = paired::VECTORS * Self::LANES;
        let of_piece = ROW / paired::PERIOD;
        let mut sums = [start; paired::ROWS];
        for period in 0..periods {
            let depth = period * paired::PERIOD;
            // SAFETY: the caller's promise.
            unsafe {
                let a = a.add(period / of_piece * ROW * paired::ROWS + period % of_piece * paired::PERIOD);
                for v in 0..paired::VECTORS {
                    let column = |step: usize| self.load(b.add((depth + step) * width + v * Self::LANES));
                    let [b0, b1, b2, b3, b4, b5] = [0, 1, 2, 3, 4, 5].map(column);
                    for r in 0..paired::ROWS {
                        let x = |step: usize| self.splat(*a.add(r * ROW + step));
                        let mut sum = sums[r][v];
                        sum = self.fma(self.add(b1, x(0)), self.add(b0, x(1)), sum);
                        sum = self.fma(self.sub(x(2), b3), self.sub(b2, x(3)), sum);
                        sum = self.fma(x(4), b4, sum);
                        sums[r][v] = self.fma(x(5), b5, sum);
                    }
                }
            }
        }
        sums
    }

    /// Transposes a tile: number `c` of row `r` goes to `to[c · to_stride + r]`, for `LANES` rows and columns.
    ///
    /// # Safety
    /// `LANES` numbers must be readable behind each of the first `LANES` pointers, and the tile writable.
    #[inline(always)]
    unsafe fn transpose(self, rows: &[*const f32], to: *mut f32, to_stride: usize) {
        for (r, &row) in rows[..Self::LANES].iter().enumerate() {
            for c in 0..Self::LANES {
                // SAFETY: the caller's promise.
                unsafe { *to.add(c * to_stride + r) = *row.add(c) };
            }
        }
    }
}

/// `n <= LANES` numbers, the other lanes 0; whole vectors need no mask.
///
/// # Safety
/// They must be readable.
#[inline(always)]
pub(crate) unsafe fn take<S: Simd>(s: S, from: *const f32, n: usize) -> S::V {
    // SAFETY: the caller's promise.
    unsafe { if n == S::LANES { s.load(from) } else { s.load_part(from, n) } }
}

/// Stores the first `n <= LANES` lanes; whole vectors need no mask.
///
/// # Safety
/// `n` numbers must be writable.
#[inline(always)]
pub(crate) unsafe fn put<S: Simd>(s: S, to: *mut f32, v: S::V, n: usize) {
    // SAFETY: the caller's promise.
    unsafe { if n == S::LANES { s.store(to, v) } else { s.store_part(to, v, n) } }
}
