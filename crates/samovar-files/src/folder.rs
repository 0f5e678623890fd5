//! Folders that stay after a power cut.

use std::fs;
use std::path::Path;

use crate::durable::sync_folder_of;
use crate::error::{Error, Result};

/// Makes a folder and those on the way to it, each durable in the one it is in.
///
/// # Errors
/// Any [`Error`].
pub fn make_folder(folder: &Path) -> Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    folder.parent().map_or(Ok(()), make_folder)?;
    match fs::create_dir(folder) {
        // Another process was faster.
        Err(_) if folder.is_dir() => Ok(()),
        Err(error) => Err(Error::io(folder, error)),
        Ok(()) => sync_folder_of(folder),
    }
}
