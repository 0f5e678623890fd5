//! Graphics devices, which tests of them want.

use std::fmt::Display;

/// What was found of graphics devices; if there are none, it is said, and with `SAMOVAR_TEST_VULKAN=1` it is a failure.
pub fn graphics<T, E: Display>(found: Result<Vec<T>, E>) -> Vec<T> {
    let why = match found {
        Ok(found) if !found.is_empty() => return found,
        Ok(_) => "none of them can be used".to_owned(),
        Err(error) => error.to_string(),
    };
    let is_wanted = std::env::var_os("SAMOVAR_TEST_VULKAN").is_some_and(|value| value == "1");
    assert!(!is_wanted, "SAMOVAR_TEST_VULKAN=1, and there is no graphics device: {why}");
    eprintln!("skipped: there is no graphics device (SAMOVAR_TEST_VULKAN=1 makes this a failure): {why}");
    Vec::new()
}
