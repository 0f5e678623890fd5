//! Plain Rust, for machines without any instructions that are written out here.

use super::Dot;
use crate::simd::Simd;
use crate::simd::scalar::Scalar;

const LANES: usize = Scalar::LANES;

/// Needs nothing of the machine.
#[derive(Clone, Copy)]
pub(crate) struct ScalarPairs;

impl Dot for ScalarPairs {
    type S = Scalar;
    type A = i16;
    type Activations = [i16; 2];
    type Weights = [[i16; 2]; LANES];
    type Sums = [i32; LANES];
    const GROUP: usize = 2;
    const OFFSET: i32 = 0;
    const ROWS: usize = Scalar::ROWS;

    #[inline(always)]
    fn simd(self) -> Scalar {
        Scalar
    }

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }

    #[inline(always)]
    unsafe fn round(self, x: [f32; LANES], inverse: [f32; LANES], zero: i32, to: *mut i16) {
        for lane in 0..LANES {
            let u = (x[lane] * inverse[lane]).round_ties_even() as i32 + zero;
            // SAFETY: the caller's promise.
            unsafe { *to.add(lane) = u.clamp(0, 255) as i16 };
        }
    }

    #[inline(always)]
    unsafe fn activations(self, from: *const i16) -> [i16; 2] {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[i16; 2]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> Self::Weights {
        // SAFETY: the caller's promise.
        let bytes = unsafe { from.cast::<[[i8; 2]; LANES]>().read_unaligned() };
        bytes.map(|pair| pair.map(i16::from))
    }

    #[inline(always)]
    fn dot(self, sums: [i32; LANES], a: [i16; 2], w: Self::Weights) -> [i32; LANES] {
        std::array::from_fn(|lane| {
            let product = |i: usize| i32::from(a[i]) * i32::from(w[lane][i]);
            sums[lane].wrapping_add(product(0) + product(1))
        })
    }

    #[inline(always)]
    unsafe fn multiply(self, numbers: *const i32, factor: i32) -> [i32; LANES] {
        // SAFETY: the caller's promise.
        let numbers = unsafe { numbers.cast::<[i32; LANES]>().read_unaligned() };
        numbers.map(|number| number.wrapping_mul(factor))
    }

    #[inline(always)]
    fn floats(self, sums: [i32; LANES]) -> [f32; LANES] {
        sums.map(|sum| sum as f32)
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::simd::dot::x86::Sse2Pairs;

    /// Where SSE2 is always there nothing else runs this code.
    #[test]
    fn plain_code_agrees_with_sse2() {
        let (plain, fast) = (ScalarPairs, Sse2Pairs);
        let x = [-3.5f32, 0.5, 2.5, 300.0];
        let weights: [i8; 8] = [-127, 127, 5, -9, 0, 1, 77, -33];
        let [mut a, mut b] = [[0i16; LANES]; 2];
        // SAFETY: all arrays have the length that is read or written.
        unsafe {
            plain.round(x, [1.0; LANES], 7, a.as_mut_ptr());
            fast.round(x, [1.0; LANES], 7, b.as_mut_ptr());
            assert_eq!((a, b), ([3, 7, 9, 255], [3, 7, 9, 255]));
            let start = [1, -2, 3, i32::MAX - 4];
            let sums = plain.dot(
                plain.multiply(start.as_ptr(), -3),
                plain.activations(a.as_ptr().add(2)),
                plain.weights(weights.as_ptr()),
            );
            let theirs = fast.dot(
                fast.multiply(start.as_ptr(), -3),
                fast.activations(a.as_ptr().add(2)),
                fast.weights(weights.as_ptr()),
            );
            assert_eq!(plain.floats(sums), fast.floats(theirs));
        }
    }
}
