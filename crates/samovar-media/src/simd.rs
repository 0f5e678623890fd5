//! Small loops for the machine at hand: mostly the compiler vectorises and this module chooses.

/// Defines a function whose body is compiled twice on x86-64, plain and with AVX2, the choice being
/// made at run time. The body is ordinary safe Rust and gives the same result either way.
macro_rules! multiversion {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block) => {
        $(#[$doc])*
        #[allow(unsafe_code, reason = "calls code compiled for a processor feature, right after asking for it")]
        $vis fn $name($($arg: $type),*) $(-> $output)? {
            #[inline(always)]
            fn body_for_any($($arg: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn body_for_avx2($($arg: $type),*) $(-> $output)? {
                    body_for_any($($arg),*)
                }
                if std::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor was just asked and has AVX2.
                    return unsafe { body_for_avx2($($arg),*) };
                }
            }
            body_for_any($($arg),*)
        }
    };
}

mod eight;

pub(crate) use eight::Eight;
pub(crate) use multiversion;

/// Bit `i` is set if value `i` is over the threshold; at most 64 values.
pub(crate) fn bits_over(values: &[f32], threshold: f32) -> u64 {
    let mut bits = 0;
    let mut fours = values.chunks_exact(4);
    for (index, four) in fours.by_ref().enumerate() {
        bits |= u64::from(four_bits_over([four[0], four[1], four[2], four[3]], threshold)) << (index * 4);
    }
    let done = values.len() / 4 * 4;
    for (index, &value) in fours.remainder().iter().enumerate() {
        bits |= u64::from(value > threshold) << (done + index);
    }
    bits
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "intrinsics of SSE, which every x86-64 processor has")]
#[inline(always)]
fn four_bits_over(values: [f32; 4], threshold: f32) -> u8 {
    // Compilers do not find this instruction by themselves.
    use std::arch::x86_64::{_mm_cmpgt_ps, _mm_movemask_ps, _mm_set1_ps, _mm_setr_ps};
    let [a, b, c, d] = values;
    // SAFETY: SSE is part of x86-64.
    unsafe { _mm_movemask_ps(_mm_cmpgt_ps(_mm_setr_ps(a, b, c, d), _mm_set1_ps(threshold))) as u8 }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn four_bits_over(values: [f32; 4], threshold: f32) -> u8 {
    let [a, b, c, d] = values.map(|value| u8::from(value > threshold));
    a | b << 1 | c << 2 | d << 3
}
