//! What the environment asks examples and benches for.

use std::str::FromStr;

/// The value of a variable, as `SAMOVAR_SIMD=avx2`; `None` where it is unset or empty.
///
/// # Panics
/// When the value is none.
pub fn asked<T: FromStr<Err: std::fmt::Debug>>(variable: &str) -> Option<T> {
    let word = std::env::var(variable).ok().filter(|word| !word.is_empty())?;
    Some(word.parse().unwrap_or_else(|error| panic!("{variable} is `{word}`: {error:?}")))
}
