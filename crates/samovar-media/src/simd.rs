//! One loop, compiled for the machine at hand: the compiler vectorises, this module chooses.

/// Defines a function whose body is compiled twice on x86-64, plain and with AVX2, the
/// choice being made at run time. The body is ordinary safe Rust and gives the same result either way.
macro_rules! multiversion {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block) => {
        $(#[$doc])*
        #[allow(unsafe_code, reason = "calls code compiled for a processor feature, right after asking for it")]
        $vis fn $name($($arg: $type),*) $(-> $output)? {
            #[inline(always)]
            fn plain($($arg: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide($($arg: $type),*) $(-> $output)? {
                    plain($($arg),*)
                }
                if std::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor was just asked and has AVX2.
                    return unsafe { wide($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    };
}

pub(crate) use multiversion;
