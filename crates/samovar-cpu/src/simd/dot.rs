//! Sums of products of 8-bit numbers: one small trait, eight ways to do it, all with the same result to the bit.
//!
//! Activations are `u` in 0..=255, weights −127..=127, sums 32 bits wide. Instruction sets differ in what they take: with
//! AVX-512 VNNI and AVX-VNNI four `u8 · i8` go into one sum, with NEON's SDOT four `i8 · i8` (so `u − 128` is stored); all
//! others widen to 16 bits and add pairs. Nothing saturates on any of these ways.

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
#[cfg(any(test, not(target_arch = "x86_64")))]
pub(crate) mod scalar;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

use super::Simd;

/// Instructions on 8-bit numbers. As with [`Simd`], a value is proof that the machine has them.
pub(crate) trait Dot: Copy + Send + Sync + 'static {
    /// The instructions for everything else.
    type S: Simd;
    /// A rounded activation as it is stored.
    type A: Copy;
    /// [`Dot::GROUP`] of them, the same in every lane.
    type Activations: Copy;
    /// As many weights for each of `LANES` columns.
    type Weights: Copy;
    /// A sum for each of `LANES` columns.
    type Sums: Copy;

    /// Depth that goes into a sum at once.
    const GROUP: usize;

    /// Subtracted from an activation in 0..=255 before it is stored.
    const OFFSET: i32;

    /// Rows of the largest tile (two vectors wide) whose sums stay in registers.
    const ROWS: usize;

    /// The instructions for everything else.
    fn simd(self) -> Self::S;

    /// Runs `f`, an `#[inline(always)]` closure, compiled with these instructions.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;

    /// Stores `LANES` activations: `x · inverse` to the nearest integer (halves to even), plus `zero`, within 0..=255.
    ///
    /// # Safety
    /// They must be writable.
    unsafe fn round(
        self,
        x: <Self::S as Simd>::V,
        inverse: <Self::S as Simd>::V,
        zero: i32,
        to: *mut Self::A,
    );

    /// A group of activations in every lane.
    ///
    /// # Safety
    /// The group must be readable.
    unsafe fn activations(self, from: *const Self::A) -> Self::Activations;

    /// Weights of `LANES` columns, group by group.
    ///
    /// # Safety
    /// `LANES` groups must be readable.
    unsafe fn weights(self, from: *const i8) -> Self::Weights;

    /// `sums + activations · weights`
    fn dot(self, sums: Self::Sums, activations: Self::Activations, weights: Self::Weights) -> Self::Sums;

    /// `factor · numbers`, to start from.
    ///
    /// # Safety
    /// `LANES` numbers must be readable.
    unsafe fn multiply(self, numbers: *const i32, factor: i32) -> Self::Sums;

    /// The nearest floating-point numbers.
    fn floats(self, sums: Self::Sums) -> <Self::S as Simd>::V;
}
