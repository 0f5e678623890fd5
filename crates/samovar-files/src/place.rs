//! What a file may take the place of: nothing, or a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, folder_of};

/// Where a file written at `path` ends up: `path`, or where the links there lead. A rename would put a file in the place
/// of a device as readily as in that of a file, and root may do so: `/dev/null` would be gone for everyone.
///
/// # Errors
/// [`crate::ErrorKind::NotAFile`] for folders, devices, pipes, sockets, links to nowhere and names that no file can have;
/// [`crate::ErrorKind::NoFolder`] when there is no folder for it.
pub fn check_place(path: &Path) -> Result<PathBuf> {
    let ends_in_separator =
        path.as_os_str().as_encoded_bytes().last().is_some_and(|&byte| std::path::is_separator(byte.into()));
    if path.file_name().is_none() || ends_in_separator {
        return Err(Error::not_a_file(path, "this is the name of a folder"));
    }
    let is_link = match fs::symlink_metadata(path) {
        Ok(found) => found.is_symlink(),
        Err(error) if error.kind() == io::ErrorKind::NotFound && folder_of(path).is_dir() => {
            return Ok(path.to_owned());
        }
        // A name too long for the file system shows here, before any work is done, and not at the rename.
        Err(error) => return Err(Error::io(path, error)),
    };
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(Error::not_a_file(path, "this is a folder")),
        Ok(found) if !found.is_file() => {
            let what =
                "this is a device or a pipe, not a file; files are written whole and then put in place";
            Err(Error::not_a_file(path, what))
        }
        Ok(_) if is_link => fs::canonicalize(path).map_err(|error| Error::io(path, error)),
        Ok(_) => Ok(path.to_owned()),
        Err(_) => Err(Error::not_a_file(path, "this is a link that leads nowhere")),
    }
}
