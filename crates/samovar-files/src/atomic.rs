//! One file: written beside its place under another name, made durable, then renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::durable::{move_synced, or_unsupported, sync_folder_of};
use crate::error::{Error, Result};
use crate::place::check_place;
use crate::temporary::begin;

/// A file being written. Nothing is seen at its path until [`AtomicFile::commit`]; dropped without, it is gone, and
/// what was at the path before is still there.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    /// `None` once finished.
    writing: Option<Writing>,
}

#[derive(Debug)]
struct Writing {
    writer: BufWriter<File>,
    temporary: PathBuf,
    /// Whether a write failed: what is in the file is then anybody's guess.
    has_failed: bool,
}

/// A file that has all its bytes and waits for its name. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) path: PathBuf,
    temporary: PathBuf,
    /// Open, because the lock on it ends when it is closed.
    file: File,
    is_placed: bool,
}

impl AtomicFile {
    /// Starts the file that will be at `path`. Its folder must exist and be writable. Where a link is, the file it leads
    /// to is replaced, not the link; what is no file, as a device or a pipe, is refused.
    ///
    /// # Errors
    /// Any [`Error`]; see [`check_place`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = check_place(path.as_ref())?;
        let (temporary, file) = begin(&path)?;
        let writing = Writing { writer: BufWriter::new(file), temporary, has_failed: false };
        Ok(Self { path, writing: Some(writing) })
    }

    /// Makes everything written durable and puts the file in its place, replacing what was there.
    ///
    /// # Errors
    /// Any [`Error`], also when an earlier write failed; what was at the path before is then still there. Only when the
    /// folder cannot be synced after the rename is the new file there already.
    pub fn commit(self) -> Result<()> {
        let mut finished = self.finish()?;
        finished.sync()?;
        finished.place()?;
        sync_folder_of(&finished.path)
    }

    /// Puts the file in its place as [`AtomicFile::commit`] does, but leaves it to the system when it becomes durable: after a
    /// power cut it may be empty. For what can be made again and carries a checksum, as the entries of a cache.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn commit_unsynced(self) -> Result<()> {
        self.finish()?.place()
    }

    /// Where the file will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn finish(mut self) -> Result<Finished> {
        let path = std::mem::take(&mut self.path);
        let Some(Writing { mut writer, temporary, has_failed }) = self.writing.take() else {
            return Err(Error::io(&path, io::ErrorKind::BrokenPipe.into()));
        };
        let flushed =
            if has_failed { Err(io::Error::other("an earlier write to it failed")) } else { writer.flush() };
        // Without the buffer, which would be written once more, to the same failure.
        let (file, _) = writer.into_parts();
        let finished = Finished { path, temporary, file, is_placed: false };
        flushed.map_err(|error| Error::io(&finished.path, error))?;
        Ok(finished)
    }

    fn writing<T>(&mut self, work: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>) -> io::Result<T> {
        let writing = self.writing.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let done = work(&mut writing.writer);
        writing.has_failed |= done.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        done
    }
}

impl Finished {
    pub(crate) fn sync(&self) -> Result<()> {
        or_unsupported(self.file.sync_all()).map_err(|error| Error::io(&self.path, error))
    }

    pub(crate) fn place(&mut self) -> Result<()> {
        fs::rename(&self.temporary, &self.path).map_err(|error| Error::io(&self.path, error))?;
        self.is_placed = true;
        Ok(())
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        if !self.is_placed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(Writing { writer, temporary, .. }) = self.writing.take() {
            drop(writer.into_parts());
            let _ = fs::remove_file(&temporary);
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writing(|writer| writer.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writing(|writer| writer.flush())
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.writing(|writer| writer.seek(position))
    }
}

/// Writes a file whole or not at all: `fill` writes its content.
///
/// # Errors
/// Whatever `fill` answers, and any [`Error`] of the file.
pub fn write_atomically<E: From<Error>>(
    path: &Path,
    fill: impl FnOnce(&mut AtomicFile) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut file = AtomicFile::create(path)?;
    fill(&mut file)?;
    Ok(file.commit()?)
}

/// Writes a file of these bytes whole or not at all.
///
/// # Errors
/// Any [`Error`].
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically(path, |file| file.write_all(bytes).map_err(|error| Error::io(path, error)))
}

/// Puts a file that was written elsewhere in the same file system in its place, durable as [`AtomicFile::commit`] does:
/// for files whose temporary name is known, so that another run goes on with them.
///
/// # Errors
/// Any [`Error`].
pub fn move_into_place(file: &File, from: &Path, to: &Path) -> Result<()> {
    or_unsupported(file.sync_all()).map_err(|error| Error::io(to, error))?;
    move_synced(from, to)
}

#[cfg(test)]
#[path = "atomic_tests.rs"]
mod tests;
