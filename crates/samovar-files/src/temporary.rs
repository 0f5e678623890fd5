//! Names and locks of files that are being written, and what is left of them after a kill.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use crate::durable::move_synced;
use crate::error::{Error, Result, folder_of};

/// Ending of the names of files that are being written.
const ENDING: &str = ".samovar-tmp";
/// Most bytes of the file's own name in that of its temporary one. It only helps people who list the folder, and a
/// temporary name must not be longer than any file system allows: NAME_MAX is 255 bytes, 143 under some encryption.
const MAX_STEM_BYTES: usize = 48;
/// Tries to find a name that is free. One suffices unless 64 random bits come up twice.
const MAX_TRIES: usize = 64;

/// A name for the time of writing, beside `path`. New at every call: processes of one id, as after a reboot or in two
/// containers, do not meet either.
fn temporary_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let end = (0..=MAX_STEM_BYTES.min(name.len())).rev().find(|&end| name.is_char_boundary(end));
    let stem = &name[..end.unwrap_or(0)];
    let random = RandomState::new().build_hasher().finish();
    let mut temporary = OsString::from(format!(".{stem}.{:x}-{random:016x}", std::process::id()));
    temporary.push(ENDING);
    path.with_file_name(temporary)
}

/// Begins a file beside `path`, locked as long as it is open.
pub(crate) fn begin(path: &Path) -> Result<(PathBuf, File)> {
    for _ in 0..MAX_TRIES {
        let temporary = temporary_name(path);
        let file = match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(Error::io(path, error)),
        };
        match file.try_lock() {
            // A sweep may have come between the two and taken the file away.
            Ok(()) if fs::symlink_metadata(&temporary).is_ok() => return Ok((temporary, file)),
            Ok(()) | Err(TryLockError::WouldBlock) => continue,
            // A file system without locks, where sweeps remove nothing.
            Err(TryLockError::Error(_)) => return Ok((temporary, file)),
        }
    }
    Err(Error::io(path, io::ErrorKind::AlreadyExists.into()))
}

/// Makes something that is no written file, as a link, under a temporary name and puts it in the place of whatever link
/// or file is at `path`. For places that are this program's own, like a cache: nothing is checked.
///
/// # Errors
/// Any [`Error`], also of `make`.
pub fn replace_with(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    let temporary = temporary_name(path);
    let placed = make(&temporary).map_err(|error| Error::io(path, error));
    let placed = placed.and_then(|()| move_synced(&temporary, path));
    if placed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    placed
}

/// Removes what writers that were killed left in a folder, and says how many files that were. What a writer still holds
/// stays. Reads the whole folder: to be called once when work there begins, not for every file.
pub fn sweep(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let left = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        name.starts_with(b".") && name.ends_with(ENDING.as_bytes())
    });
    left.filter(|entry| remove_if_left(&entry.path())).count()
}

/// [`sweep`] of the folder that a file is in.
pub fn sweep_beside(path: &Path) -> usize {
    sweep(folder_of(path))
}

fn remove_if_left(path: &Path) -> bool {
    // Nothing but files is opened: opening a pipe would wait for its other end.
    if !fs::symlink_metadata(path).is_ok_and(|found| found.is_file()) {
        return false;
    }
    let Ok(file) = OpenOptions::new().write(true).open(path) else { return false };
    // Names never come again, so what is removed is what was locked, or nothing if it was put in its place meanwhile.
    file.try_lock().is_ok() && fs::remove_file(path).is_ok()
}

#[cfg(test)]
#[path = "temporary_tests.rs"]
mod tests;
