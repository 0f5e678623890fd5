//! AVX-512 BF16: `vdpbf16ps`, pairs of bfloat16 numbers at the rate of single f32 ones.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::Product;
use crate::simd::Simd;
use crate::simd::avx512::Avx512;

/// Proof that the machine has AVX-512 F, BW, DQ, VL and BF16.
#[derive(Clone, Copy)]
pub(crate) struct Avx512Bf16(());

impl Avx512Bf16 {
    /// # Safety
    /// The machine must have the instructions.
    #[inline(always)]
    pub(crate) unsafe fn assume_available() -> Self {
        Self(())
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
fn enter<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Where the words of two vectors, one behind the other, go so that they alternate.
const ALTERNATE: [u16; 32] = {
    let mut order = [0; 32];
    let mut i = 0;
    while i < 32 {
        order[i] = (i / 2 + i % 2 * 16) as u16;
        i += 1;
    }
    order
};

// SAFETY (whole implementation): the value proves that the instructions exist; addresses are the caller's promise; vectors
// of the same size hold any bits.
impl Product for Avx512Bf16 {
    type S = Avx512;
    const GROUP: usize = 2;

    #[inline(always)]
    fn simd(self) -> Avx512 {
        unsafe { Avx512::assume_available() }
    }

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        unsafe { enter(f) }
    }

    #[inline(always)]
    fn dot(self, sums: __m512, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_dpbf16_ps(sums, transmute::<__m512, __m512bh>(a), transmute::<__m512, __m512bh>(b)) }
    }

    #[inline(always)]
    unsafe fn take(self, from: *const f32, n: usize) -> __m512 {
        let s = self.simd();
        unsafe {
            let (low, high) = match n {
                32.. => (s.load(from), s.load(from.add(16))),
                16.. => (s.load(from), s.load_part(from.add(16), n - 16)),
                _ => (s.load_part(from, n), s.splat(0.0)),
            };
            transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low))
        }
    }

    #[inline(always)]
    fn join(self, [even, odd]: [__m512; 2]) -> __m512 {
        unsafe {
            let words = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(odd, even));
            let order = _mm512_loadu_si512(ALTERNATE.as_ptr().cast());
            _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, words))
        }
    }

    #[inline(always)]
    fn exp2(self, x: __m512) -> __m512 {
        // 1.5 · 2²³: a sum with it has the nearest integer in its last bits.
        const ROUND: f32 = 12_582_912.0;
        let s = self.simd();
        let x = s.max(s.splat(-126.0), x);
        let rounded = s.add(x, s.splat(ROUND));
        let r = s.sub(x, s.sub(rounded, s.splat(ROUND)));
        // Chebyshev interpolation of 2ʳ on −½..½, to 1e-4: a thirtieth of what rounding to bfloat16 does.
        let p = s.splat(5.583_828_3e-2);
        let p = s.fma(p, r, s.splat(2.426_394_8e-1));
        let p = s.fma(p, r, s.splat(6.931_367_3e-1));
        let p = s.fma(p, r, s.splat(9.999_245_6e-1));
        // The integer goes to the exponent; that of numbers that are not finite is not touched.
        unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(rounded));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), exponent))
        }
    }
}
