//! One libFuzzer binary for all targets; `SAMOVAR_FUZZ_TARGET` says which.

#![no_main]

use std::sync::OnceLock;

use samovar_fuzz::{TARGETS, Target};

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn find_target() -> &'static Target {
    let name = std::env::var("SAMOVAR_FUZZ_TARGET").unwrap_or_default();
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    TARGETS
        .iter()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("SAMOVAR_FUZZ_TARGET is \"{name}\", it must be one of {names:?}"))
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.get_or_init(find_target).run)(data));
