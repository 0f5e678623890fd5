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

/// libFuzzer's hook aborts on every panic, also on those of decoders, which are caught and become errors.
fn let_decoders_panic() {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !samovar_media::image::is_decoding() {
            abort(info);
        }
    }));
}

libfuzzer_sys::fuzz_target!(init: let_decoders_panic(), |data: &[u8]| (TARGET.get_or_init(find_target).run)(data));
