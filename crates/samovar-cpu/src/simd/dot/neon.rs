//! 64-bit ARM: `sdot`, and `smull` with pairwise addition for machines without.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Dot;
use crate::simd::Simd;
use crate::simd::neon::Neon;

/// Proof that the machine has NEON and the dot product instructions.
#[derive(Clone, Copy)]
pub(crate) struct NeonDot(());

/// Proof that the machine has NEON.
#[derive(Clone, Copy)]
pub(crate) struct NeonPairs(());

impl NeonDot {
    /// # Safety
    /// The machine must have the instructions.
    #[inline(always)]
    pub(crate) unsafe fn assume_available() -> Self {
        Self(())
    }
}

impl NeonPairs {
    /// # Safety
    /// The machine must have the instructions.
    #[inline(always)]
    pub(crate) unsafe fn assume_available() -> Self {
        Self(())
    }
}

#[target_feature(enable = "neon,dotprod")]
fn enter_dot<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[target_feature(enable = "neon")]
fn enter_pairs<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Stores four activations less 128.
///
/// # Safety
/// The machine must have NEON, and four bytes be writable.
#[inline(always)]
unsafe fn round(x: float32x4_t, inverse: float32x4_t, zero: i32, to: *mut i8) {
    // SAFETY: the caller's promise.
    unsafe {
        let u = vaddq_s32(vcvtnq_s32_f32(vmulq_f32(x, inverse)), vdupq_n_s32(zero - 128));
        // Both narrowings saturate.
        let words = vqmovn_s32(u);
        let bytes = vqmovn_s16(vcombine_s16(words, words));
        to.cast::<i32>().write_unaligned(vget_lane_s32::<0>(vreinterpret_s32_s8(bytes)));
    }
}

// SAFETY (both implementations): the value proves that the instructions exist; addresses are the caller's promise.
impl Dot for NeonDot {
    type S = Neon;
    type A = i8;
    type Activations = int8x16_t;
    type Weights = int8x16_t;
    type Sums = int32x4_t;
    const GROUP: usize = 4;
    const OFFSET: i32 = 128;
    const ROWS: usize = Neon::ROWS;

    #[inline(always)]
    fn simd(self) -> Neon {
        unsafe { Neon::assume_available() }
    }

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        unsafe { enter_dot(f) }
    }

    #[inline(always)]
    unsafe fn round(self, x: float32x4_t, inverse: float32x4_t, zero: i32, to: *mut i8) {
        unsafe { round(x, inverse, zero, to) }
    }

    #[inline(always)]
    unsafe fn activations(self, from: *const i8) -> int8x16_t {
        unsafe { vreinterpretq_s8_s32(vdupq_n_s32(from.cast::<i32>().read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> int8x16_t {
        unsafe { vld1q_s8(from) }
    }

    #[inline(always)]
    fn dot(self, mut sums: int32x4_t, a: int8x16_t, w: int8x16_t) -> int32x4_t {
        // The intrinsic is not stable yet.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sums:v}.4s, {a:v}.16b, {w:v}.16b",
                sums = inout(vreg) sums,
                a = in(vreg) a,
                w = in(vreg) w,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sums
    }

    #[inline(always)]
    unsafe fn multiply(self, numbers: *const i32, factor: i32) -> int32x4_t {
        unsafe { vmulq_n_s32(vld1q_s32(numbers), factor) }
    }

    #[inline(always)]
    fn floats(self, sums: int32x4_t) -> float32x4_t {
        unsafe { vcvtq_f32_s32(sums) }
    }
}

impl Dot for NeonPairs {
    type S = Neon;
    type A = i8;
    type Activations = int8x8_t;
    type Weights = int8x8_t;
    type Sums = int32x4_t;
    const GROUP: usize = 2;
    const OFFSET: i32 = 128;
    const ROWS: usize = Neon::ROWS;

    #[inline(always)]
    fn simd(self) -> Neon {
        unsafe { Neon::assume_available() }
    }

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        unsafe { enter_pairs(f) }
    }

    #[inline(always)]
    unsafe fn round(self, x: float32x4_t, inverse: float32x4_t, zero: i32, to: *mut i8) {
        unsafe { round(x, inverse, zero, to) }
    }

    #[inline(always)]
    unsafe fn activations(self, from: *const i8) -> int8x8_t {
        unsafe { vreinterpret_s8_s16(vdup_n_s16(from.cast::<i16>().read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> int8x8_t {
        unsafe { vld1_s8(from) }
    }

    #[inline(always)]
    fn dot(self, sums: int32x4_t, a: int8x8_t, w: int8x8_t) -> int32x4_t {
        // A product is at most 128 · 127, so 16 bits hold it.
        unsafe { vpadalq_s16(sums, vmull_s8(a, w)) }
    }

    #[inline(always)]
    unsafe fn multiply(self, numbers: *const i32, factor: i32) -> int32x4_t {
        unsafe { vmulq_n_s32(vld1q_s32(numbers), factor) }
    }

    #[inline(always)]
    fn floats(self, sums: int32x4_t) -> float32x4_t {
        unsafe { vcvtq_f32_s32(sums) }
    }
}
