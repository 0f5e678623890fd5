//! Eight numbers side by side, which compilers do not make of arrays that live in registers throughout a loop.

use std::ops::{Add, AddAssign, Mul, Sub};

/// Eight numbers; the same results on every machine.
#[derive(Clone, Copy)]
pub(crate) struct Eight(Four, Four);

impl Eight {
    #[inline(always)]
    pub(crate) fn splat(value: f32) -> Self {
        let four = Four::from_array([value; 4]);
        Self(four, four)
    }

    /// The eight values from `at` on, which must exist.
    #[inline(always)]
    pub(crate) fn load(values: &[f32], at: usize) -> Self {
        let values = &values[at..at + 8];
        let four = |at: usize| [values[at], values[at + 1], values[at + 2], values[at + 3]];
        Self(Four::from_array(four(0)), Four::from_array(four(4)))
    }

    /// Their sum: halves, then quarters, then eighths are added.
    #[inline(always)]
    pub(crate) fn sum(self) -> f32 {
        let [a, b, c, d] = self.0.plus(self.1).to_array();
        (a + c) + (b + d)
    }

    #[inline(always)]
    pub(crate) fn to_array(self) -> [f32; 8] {
        let ([a, b, c, d], [e, f, g, h]) = (self.0.to_array(), self.1.to_array());
        [a, b, c, d, e, f, g, h]
    }
}

impl Add for Eight {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0.plus(other.0), self.1.plus(other.1))
    }
}

impl Sub for Eight {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0.minus(other.0), self.1.minus(other.1))
    }
}

impl Mul for Eight {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(self.0.times(other.0), self.1.times(other.1))
    }
}

impl AddAssign for Eight {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(target_arch = "x86_64")]
use sse::Four;

#[cfg(target_arch = "x86_64")]
mod sse {
    #![allow(unsafe_code, reason = "intrinsics of SSE, which every x86-64 processor has")]

    use std::arch::x86_64::{__m128, _mm_add_ps, _mm_mul_ps, _mm_sub_ps};

    /// Four numbers in a register.
    #[derive(Clone, Copy)]
    pub(super) struct Four(__m128);

    impl Four {
        #[inline(always)]
        pub(super) fn from_array(values: [f32; 4]) -> Self {
            // SAFETY: four numbers either way; any bits are numbers.
            Self(unsafe { std::mem::transmute::<[f32; 4], __m128>(values) })
        }

        #[inline(always)]
        pub(super) fn to_array(self) -> [f32; 4] {
            // SAFETY: as above.
            unsafe { std::mem::transmute::<__m128, [f32; 4]>(self.0) }
        }

        #[inline(always)]
        pub(super) fn plus(self, other: Self) -> Self {
            // SAFETY: SSE is part of x86-64; so below.
            Self(unsafe { _mm_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        pub(super) fn minus(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm_sub_ps(self.0, other.0) })
        }

        #[inline(always)]
        pub(super) fn times(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm_mul_ps(self.0, other.0) })
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
use plain::Four;

#[cfg(not(target_arch = "x86_64"))]
mod plain {
    /// Four numbers.
    #[derive(Clone, Copy)]
    pub(super) struct Four([f32; 4]);

    impl Four {
        #[inline(always)]
        pub(super) fn from_array(values: [f32; 4]) -> Self {
            Self(values)
        }

        #[inline(always)]
        pub(super) fn to_array(self) -> [f32; 4] {
            self.0
        }

        #[inline(always)]
        pub(super) fn plus(self, other: Self) -> Self {
            Self(std::array::from_fn(|index| self.0[index] + other.0[index]))
        }

        #[inline(always)]
        pub(super) fn minus(self, other: Self) -> Self {
            Self(std::array::from_fn(|index| self.0[index] - other.0[index]))
        }

        #[inline(always)]
        pub(super) fn times(self, other: Self) -> Self {
            Self(std::array::from_fn(|index| self.0[index] * other.0[index]))
        }
    }
}
