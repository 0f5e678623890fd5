//! The system's ffmpeg, which tests of videos want.

use std::process::Command;

/// Whether there is an ffmpeg to test with; if not, it is said, and with `SAMOVAR_TEST_FFMPEG=1` it is a failure.
pub fn has_ffmpeg() -> bool {
    let found = Command::new("ffmpeg").arg("-version").output().is_ok_and(|output| output.status.success());
    let is_wanted = std::env::var_os("SAMOVAR_TEST_FFMPEG").is_some_and(|value| value == "1");
    assert!(found || !is_wanted, "SAMOVAR_TEST_FFMPEG=1, and there is no ffmpeg");
    if !found {
        eprintln!("skipped: there is no ffmpeg (SAMOVAR_TEST_FFMPEG=1 makes this a failure)");
    }
    found
}
