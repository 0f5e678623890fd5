//! x86-64: `vpdpbusd` of AVX-512 VNNI and AVX-VNNI, and `vpmaddwd` on widened numbers for machines without.

use std::arch::x86_64::*;

use super::Dot;
use crate::simd::Simd;
use crate::simd::avx2::Avx2;
use crate::simd::avx512::Avx512;
use crate::simd::scalar::Scalar;

/// Declares a proof type and the function that carries its instructions.
macro_rules! proof {
    ($(#[$doc:meta])* $name:ident, $enter:ident, $features:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name(());

        impl $name {
            /// # Safety
            /// The machine must have the instructions.
            #[inline(always)]
            pub(crate) unsafe fn assume_available() -> Self {
                Self(())
            }
        }

        #[target_feature(enable = $features)]
        fn $enter<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
    };
}

proof!(
    /// Proof that the machine has AVX-512 F, BW, DQ, VL and VNNI.
    Avx512Vnni,
    enter_avx512_vnni,
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c"
);
proof!(
    /// Proof that the machine has AVX-512 F, BW, DQ and VL.
    Avx512Pairs,
    enter_avx512_pairs,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"
);
proof!(
    /// Proof that the machine has AVX2, FMA and AVX-VNNI.
    AvxVnni,
    enter_avx_vnni,
    "avx2,fma,f16c,avxvnni"
);
proof!(
    /// Proof that the machine has AVX2 and FMA.
    Avx2Pairs,
    enter_avx2_pairs,
    "avx2,fma,f16c"
);

/// `x · inverse`, rounded, plus `zero`, not below 0.
///
/// # Safety
/// The machine must have AVX-512.
#[inline(always)]
unsafe fn rounded_512(x: __m512, inverse: __m512, zero: i32) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let u = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x, inverse)), _mm512_set1_epi32(zero));
        _mm512_max_epi32(u, _mm512_setzero_si512())
    }
}

/// The same for AVX2.
///
/// # Safety
/// The machine must have AVX2.
#[inline(always)]
unsafe fn rounded_256(x: __m256, inverse: __m256, zero: i32) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(x, inverse)), _mm256_set1_epi32(zero)) }
}

// SAFETY (all implementations): the value proves that the instructions exist; addresses are the caller's promise.
impl Dot for Avx512Vnni {
    type S = Avx512;
    type A = u8;
    type Activations = __m512i;
    type Weights = __m512i;
    type Sums = __m512i;
    const GROUP: usize = 4;
    const OFFSET: i32 = 0;
    const ROWS: usize = Avx512::ROWS;

    #[inline(always)]
    fn simd(self) -> Avx512 {
        unsafe { Avx512::assume_available() }
    }

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        unsafe { enter_avx512_vnni(f) }
    }

    #[inline(always)]
    unsafe fn round(self, x: __m512, inverse: __m512, zero: i32, to: *mut u8) {
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtusepi32_epi8(rounded_512(x, inverse, zero))) }
    }

    #[inline(always)]
    unsafe fn activations(self, from: *const u8) -> __m512i {
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    fn dot(self, sums: __m512i, a: __m512i, w: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sums, a, w) }
    }

    #[inline(always)]
    unsafe fn multiply(self, numbers: *const i32, factor: i32) -> __m512i {
        unsafe { _mm512_mullo_epi32(_mm512_loadu_si512(numbers.cast()), _mm512_set1_epi32(factor)) }
    }

    #[inline(always)]
    fn floats(self, sums: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(sums) }
    }
}

impl Dot for Avx512Pairs {
    type S = Avx512;
    type A = i16;
    type Activations = __m512i;
    type Weights = __m512i;
    type Sums = __m512i;
    const GROUP: usize = 2;
    const OFFSET: i32 = 0;
    // 24 sums, 2 columns of the weights, 1 broadcast, and a product on its way to each of some sums.
    const ROWS: usize = 12;

    #[inline(always)]
    fn simd(self) -> Avx512 {
        unsafe { Avx512::assume_available() }
    }

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        unsafe { enter_avx512_pairs(f) }
    }

    #[inline(always)]
    unsafe fn round(self, x: __m512, inverse: __m512, zero: i32, to: *mut i16) {
        unsafe {
            let u = _mm512_min_epi32(rounded_512(x, inverse, zero), _mm512_set1_epi32(255));
            _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(u));
        }
    }

    #[inline(always)]
    unsafe fn activations(self, from: *const i16) -> __m512i {
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> __m512i {
        unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    fn dot(self, sums: __m512i, a: __m512i, w: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(sums, _mm512_madd_epi16(a, w)) }
    }

    #[inline(always)]
    unsafe fn multiply(self, numbers: *const i32, factor: i32) -> __m512i {
        unsafe { _mm512_mullo_epi32(_mm512_loadu_si512(numbers.cast()), _mm512_set1_epi32(factor)) }
    }

    #[inline(always)]
    fn floats(self, sums: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(sums) }
    }
}

impl Dot for AvxVnni {
    type S = Avx2;
    type A = u8;
    type Activations = __m256i;
    type Weights = __m256i;
    type Sums = __m256i;
    const GROUP: usize = 4;
    const OFFSET: i32 = 0;
    const ROWS: usize = Avx2::ROWS;

    #[inline(always)]
    fn simd(self) -> Avx2 {
        unsafe { Avx2::assume_available() }
    }

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        unsafe { enter_avx_vnni(f) }
    }

    #[inline(always)]
    unsafe fn round(self, x: __m256, inverse: __m256, zero: i32, to: *mut u8) {
        unsafe {
            let u = rounded_256(x, inverse, zero);
            let (low, high) = (_mm256_castsi256_si128(u), _mm256_extracti128_si256::<1>(u));
            // Numbers below 0 and above 255 saturate on the way.
            let words = _mm_packs_epi32(low, high);
            _mm_storel_epi64(to.cast(), _mm_packus_epi16(words, words));
        }
    }

    #[inline(always)]
    unsafe fn activations(self, from: *const u8) -> __m256i {
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> __m256i {
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    fn dot(self, sums: __m256i, a: __m256i, w: __m256i) -> __m256i {
        unsafe { _mm256_dpbusd_avx_epi32(sums, a, w) }
    }

    #[inline(always)]
    unsafe fn multiply(self, numbers: *const i32, factor: i32) -> __m256i {
        unsafe { _mm256_mullo_epi32(_mm256_loadu_si256(numbers.cast()), _mm256_set1_epi32(factor)) }
    }

    #[inline(always)]
    fn floats(self, sums: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(sums) }
    }
}

impl Dot for Avx2Pairs {
    type S = Avx2;
    type A = i16;
    type Activations = __m256i;
    type Weights = __m256i;
    type Sums = __m256i;
    const GROUP: usize = 2;
    const OFFSET: i32 = 0;
    // 12 sums, 2 columns of the weights, 1 broadcast, 1 product: all 16 registers.
    const ROWS: usize = Avx2::ROWS;

    #[inline(always)]
    fn simd(self) -> Avx2 {
        unsafe { Avx2::assume_available() }
    }

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        unsafe { enter_avx2_pairs(f) }
    }

    #[inline(always)]
    unsafe fn round(self, x: __m256, inverse: __m256, zero: i32, to: *mut i16) {
        unsafe {
            let u = _mm256_max_epi32(rounded_256(x, inverse, zero), _mm256_setzero_si256());
            let u = _mm256_min_epi32(u, _mm256_set1_epi32(255));
            let (low, high) = (_mm256_castsi256_si128(u), _mm256_extracti128_si256::<1>(u));
            _mm_storeu_si128(to.cast(), _mm_packs_epi32(low, high));
        }
    }

    #[inline(always)]
    unsafe fn activations(self, from: *const i16) -> __m256i {
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> __m256i {
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    fn dot(self, sums: __m256i, a: __m256i, w: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(a, w)) }
    }

    #[inline(always)]
    unsafe fn multiply(self, numbers: *const i32, factor: i32) -> __m256i {
        unsafe { _mm256_mullo_epi32(_mm256_loadu_si256(numbers.cast()), _mm256_set1_epi32(factor)) }
    }

    #[inline(always)]
    fn floats(self, sums: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(sums) }
    }
}

/// What every x86-64 machine has.
#[derive(Clone, Copy)]
pub(crate) struct Sse2Pairs;

// SAFETY (whole implementation): SSE2 is part of x86-64; addresses are the caller's promise.
impl Dot for Sse2Pairs {
    type S = Scalar;
    type A = i16;
    type Activations = __m128i;
    type Weights = __m128i;
    type Sums = __m128i;
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
    unsafe fn round(self, x: [f32; 4], inverse: [f32; 4], zero: i32, to: *mut i16) {
        unsafe {
            let product = _mm_mul_ps(_mm_loadu_ps(x.as_ptr()), _mm_loadu_ps(inverse.as_ptr()));
            let u = _mm_add_epi32(_mm_cvtps_epi32(product), _mm_set1_epi32(zero));
            let words = _mm_packs_epi32(u, u);
            let words = _mm_min_epi16(_mm_max_epi16(words, _mm_setzero_si128()), _mm_set1_epi16(255));
            _mm_storel_epi64(to.cast(), words);
        }
    }

    #[inline(always)]
    unsafe fn activations(self, from: *const i16) -> __m128i {
        unsafe { _mm_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> __m128i {
        unsafe {
            let bytes = _mm_loadl_epi64(from.cast());
            _mm_srai_epi16::<8>(_mm_unpacklo_epi8(bytes, bytes))
        }
    }

    #[inline(always)]
    fn dot(self, sums: __m128i, a: __m128i, w: __m128i) -> __m128i {
        unsafe { _mm_add_epi32(sums, _mm_madd_epi16(a, w)) }
    }

    #[inline(always)]
    unsafe fn multiply(self, numbers: *const i32, factor: i32) -> __m128i {
        unsafe {
            let numbers = numbers.cast::<[i32; 4]>().read_unaligned();
            let products = numbers.map(|number| number.wrapping_mul(factor));
            _mm_loadu_si128(products.as_ptr().cast())
        }
    }

    #[inline(always)]
    fn floats(self, sums: __m128i) -> [f32; 4] {
        let mut floats = [0.0; 4];
        unsafe { _mm_storeu_ps(floats.as_mut_ptr(), _mm_cvtepi32_ps(sums)) };
        floats
    }
}
