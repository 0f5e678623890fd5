//! AVX-512: 16 numbers at a time, 32 registers, masks for the ends of rows.

use std::arch::x86_64::*;

use super::{Simd, paired};

/// Proof that the machine has AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The machine must have the instructions.
    #[inline(always)]
    pub(crate) unsafe fn assume_available() -> Self {
        Self(())
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn enter<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[inline(always)]
fn first(n: usize) -> __mmask16 {
    debug_assert!(n <= 16);
    ((1u32 << n) - 1) as __mmask16
}

// SAFETY (whole implementation): the value proves that the instructions exist; addresses are the caller's promise.
impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    // 28 sums, 2 columns of the weights, 1 broadcast: 31 of 32 registers.
    const ROWS: usize = 14;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        unsafe { enter(f) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::V {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Self::V) {
        unsafe { _mm512_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, n: usize) -> Self::V {
        unsafe { _mm512_maskz_loadu_ps(first(n), from) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, v: Self::V, n: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first(n), v) }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const u16) -> Self::V {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> Self::V {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn abs(self, v: Self::V) -> Self::V {
        unsafe { _mm512_abs_ps(v) }
    }

    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v) }
    }

    #[inline(always)]
    fn scale(self, v: Self::V, n: Self::V) -> Self::V {
        unsafe { _mm512_scalef_ps(v, n) }
    }

    #[inline(always)]
    fn swap_pairs(self, v: Self::V) -> Self::V {
        unsafe { _mm512_permute_ps::<0b10_11_00_01>(v) }
    }

    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        unsafe { _mm512_reduce_add_ps(v) }
    }

    #[inline(always)]
    fn largest(self, v: Self::V) -> f32 {
        unsafe { _mm512_reduce_max_ps(v) }
    }

    #[inline(always)]
    unsafe fn paired_sums<const ROW: usize>(
        self,
        start: [Self::V; paired::VECTORS],
        periods: usize,
        a: *const f32,
        b: *const f32,
        next: *const f32,
    ) -> paired::Sums<Self::V> {
        unsafe { paired::avx512::sums::<ROW>(start, periods, a, b, next) }
    }

    #[inline(always)]
    fn prefetch_to_write(self, at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.cast()) }
    }

    #[inline(always)]
    fn prefetch_to_read(self, at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn transpose(self, rows: &[*const f32], to: *mut f32, to_stride: usize) {
        let rows: &[*const f32; 16] = rows.first_chunk().expect("one pointer for every lane");
        unsafe {
            // Pairs, then quadruples within 128-bit lanes, then the lanes themselves.
            let mut a = [_mm512_setzero_ps(); 16];
            let mut b = a;
            for i in 0..16 {
                a[i] = _mm512_loadu_ps(rows[i]);
            }
            for i in 0..8 {
                b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
                b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
            }
            for i in 0..4 {
                let [low, high] = [0, 1].map(|h| (b[4 * i + h], b[4 * i + h + 2]));
                a[4 * i] = _mm512_shuffle_ps::<0b01_00_01_00>(low.0, low.1);
                a[4 * i + 1] = _mm512_shuffle_ps::<0b11_10_11_10>(low.0, low.1);
                a[4 * i + 2] = _mm512_shuffle_ps::<0b01_00_01_00>(high.0, high.1);
                a[4 * i + 3] = _mm512_shuffle_ps::<0b11_10_11_10>(high.0, high.1);
            }
            // a[4 i + c] now holds columns c, c + 4, c + 8, c + 12 of rows 4 i .. 4 i + 4.
            for c in 0..4 {
                let (p, q, r, t) = (a[c], a[4 + c], a[8 + c], a[12 + c]);
                let even = _mm512_shuffle_f32x4::<0b10_00_10_00>(p, q);
                let odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(p, q);
                let even_below = _mm512_shuffle_f32x4::<0b10_00_10_00>(r, t);
                let odd_below = _mm512_shuffle_f32x4::<0b11_01_11_01>(r, t);
                let columns = [
                    _mm512_shuffle_f32x4::<0b10_00_10_00>(even, even_below),
                    _mm512_shuffle_f32x4::<0b10_00_10_00>(odd, odd_below),
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(even, even_below),
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(odd, odd_below),
                ];
                for (i, column) in columns.into_iter().enumerate() {
                    _mm512_storeu_ps(to.add((c + 4 * i) * to_stride), column);
                }
            }
        }
    }
}
