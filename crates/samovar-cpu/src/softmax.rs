//! Softmax down columns: every lane of a vector has scores of its own, so that no sum goes across lanes.

use crate::math::exp2_of_negative;
use crate::simd::Simd;

/// Turns scores, logarithms to base 2, into weights whose sum is 1, lane by lane. `at` says where the vectors of the
/// `count >= 1` scores lie.
///
/// # Safety
/// They must be readable and writable.
#[inline(always)]
pub(crate) unsafe fn softmax_down<S: Simd>(s: S, count: usize, at: impl Fn(usize) -> *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut largest = s.load(at(0));
        for i in 1..count {
            largest = s.max(largest, s.load(at(i)));
        }
        let mut sum = s.splat(0.0);
        for i in 0..count {
            let weight = exp2_of_negative(s, s.sub(s.load(at(i)), largest));
            sum = s.add(sum, weight);
            s.store(at(i), weight);
        }
        let factor = s.div(s.splat(1.0), sum);
        for i in 0..count {
            s.store(at(i), s.mul(s.load(at(i)), factor));
        }
    }
}
