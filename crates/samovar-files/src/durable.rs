//! What makes names stay after a power cut: the folders they are in are synced.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::error::{Error, Result, folder_of};

/// Renames, and makes the new name durable.
pub(crate) fn move_synced(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|error| Error::io(to, error))?;
    sync_folder_of(to)
}

/// Makes the entries of the folder of `path` durable.
pub(crate) fn sync_folder_of(path: &Path) -> Result<()> {
    sync_folder(folder_of(path)).map_err(|error| Error::io(path, error))
}

/// Makes the entries of a folder durable. Where folders cannot be opened or synced, the system has no such thing.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder).map_or(Ok(()), |folder| or_unsupported(folder.sync_all()))
}

/// A sync that the file system does not know is none that failed.
pub(crate) fn or_unsupported(synced: io::Result<()>) -> io::Result<()> {
    synced.or_else(|error| match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Ok(()),
        #[cfg(not(unix))]
        io::ErrorKind::PermissionDenied => Ok(()),
        _ => Err(error),
    })
}
