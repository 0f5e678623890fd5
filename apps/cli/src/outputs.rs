//! Places from the command line that results go to.

use std::path::Path;

use anyhow::{Result, anyhow};

use crate::failure::usage;

/// Refuses places where no file can be written, before time is spent on what would go there. `takes` says what the option
/// takes instead of a folder.
pub fn check_place(out: &Path, takes: &str) -> Result<()> {
    let shown = out.display();
    if out.is_dir() {
        return Err(usage(format!("\"{shown}\" is a folder; {takes}")));
    }
    if std::fs::metadata(out).is_ok_and(|found| !found.is_file()) {
        let what = "is a device or a pipe; files are written whole and then put in place: name a file";
        return Err(usage(format!("\"{shown}\" {what}")));
    }
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(anyhow!("\"{shown}\": there is no folder \"{}\"; make it first", parent.display()));
    }
    Ok(())
}
