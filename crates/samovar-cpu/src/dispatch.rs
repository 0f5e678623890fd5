//! From a level to the type that stands for its instructions.

/// Evaluates an expression with `$s` bound to the instructions of a [`crate::level::SimdLevel`] that the machine has.
macro_rules! with_simd {
    ($level:expr, $s:ident => $body:expr) => {
        match $level {
            // SAFETY (all arms): `CpuKernels::new` checked that the machine has the level.
            #[cfg(target_arch = "x86_64")]
            $crate::level::SimdLevel::Avx512 => {
                let $s = unsafe { $crate::simd::avx512::Avx512::assume_available() };
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::level::SimdLevel::Avx2 => {
                let $s = unsafe { $crate::simd::avx2::Avx2::assume_available() };
                $body
            }
            #[cfg(target_arch = "aarch64")]
            $crate::level::SimdLevel::Neon => {
                let $s = unsafe { $crate::simd::neon::Neon::assume_available() };
                $body
            }
            _ => {
                let $s = $crate::simd::scalar::Scalar;
                $body
            }
        }
    };
}
pub(crate) use with_simd;

/// Evaluates an expression with `$d` bound to the 8-bit instructions of a level that the machine has.
macro_rules! with_dot {
    ($level:expr, $int8:expr, $d:ident => $body:expr) => {
        match ($level, $int8) {
            // SAFETY (all arms): `CpuKernels` checked that the machine has both levels.
            #[cfg(target_arch = "x86_64")]
            ($crate::level::SimdLevel::Avx512, $crate::level::Int8Level::Fours) => {
                let $d = unsafe { $crate::simd::dot::x86::Avx512Vnni::assume_available() };
                $body
            }
            #[cfg(target_arch = "x86_64")]
            ($crate::level::SimdLevel::Avx512, $crate::level::Int8Level::Pairs) => {
                let $d = unsafe { $crate::simd::dot::x86::Avx512Pairs::assume_available() };
                $body
            }
            #[cfg(target_arch = "x86_64")]
            ($crate::level::SimdLevel::Avx2, $crate::level::Int8Level::Fours) => {
                let $d = unsafe { $crate::simd::dot::x86::AvxVnni::assume_available() };
                $body
            }
            #[cfg(target_arch = "x86_64")]
            ($crate::level::SimdLevel::Avx2, $crate::level::Int8Level::Pairs) => {
                let $d = unsafe { $crate::simd::dot::x86::Avx2Pairs::assume_available() };
                $body
            }
            #[cfg(target_arch = "aarch64")]
            ($crate::level::SimdLevel::Neon, $crate::level::Int8Level::Fours) => {
                let $d = unsafe { $crate::simd::dot::neon::NeonDot::assume_available() };
                $body
            }
            #[cfg(target_arch = "aarch64")]
            ($crate::level::SimdLevel::Neon, $crate::level::Int8Level::Pairs) => {
                let $d = unsafe { $crate::simd::dot::neon::NeonPairs::assume_available() };
                $body
            }
            #[cfg(target_arch = "x86_64")]
            _ => {
                let $d = $crate::simd::dot::x86::Sse2Pairs;
                $body
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => {
                let $d = $crate::simd::dot::scalar::ScalarPairs;
                $body
            }
        }
    };
}
pub(crate) use with_dot;
