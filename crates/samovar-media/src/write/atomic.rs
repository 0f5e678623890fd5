//! Files that appear whole: written beside their place under another name, then renamed.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{MediaError, MediaErrorKind, Result};

/// A file being written. Nothing is seen at its path until [`AtomicFile::commit`]; dropped without, it is gone, and
/// what was at the path before is still there.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary_path: PathBuf,
    /// `None` once committed.
    writer: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Starts the file that will be at `path`. Its folder must exist and be writable. Where a link is, the file it leads
    /// to is replaced, not the link; what is no file, as a device or a pipe, is refused.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = final_path(path.into())?;
        let Some(name) = path.file_name() else {
            let error = MediaError::write(io::ErrorKind::InvalidFilename.into());
            return Err(error.at(path).advise("name a file, not a folder"));
        };
        // In the same folder, because a rename between file systems is a copy, and a copy can stop half-way.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut temporary_name = OsString::from(".");
        temporary_name.push(name);
        temporary_name.push(format!(".{}-{number}.tmp", std::process::id()));
        let temporary_path = path.with_file_name(temporary_name);
        let opened = OpenOptions::new().write(true).create_new(true).open(&temporary_path);
        let file = opened.map_err(|error| MediaError::write(error).at(&path))?;
        Ok(Self { path, temporary_path, writer: Some(BufWriter::new(file)) })
    }

    /// Makes everything written durable and puts the file in its place, replacing what was there.
    pub fn commit(mut self) -> Result<()> {
        let commit = |writer: Option<BufWriter<File>>, from: &Path, to: &Path| {
            if let Some(writer) = writer {
                let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.sync_all()?;
            }
            std::fs::rename(from, to)?;
            // The new name is durable once its folder is; where folders cannot be synced, that is as good as it gets.
            let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
                let _ = folder.sync_all();
            }
            Ok(())
        };
        let done = commit(self.writer.take(), &self.temporary_path, &self.path);
        if done.is_err() {
            let _ = std::fs::remove_file(&self.temporary_path);
        }
        done.map_err(|error: io::Error| MediaError::write(error).at(&self.path))
    }

    /// Where the file will be.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.writer.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.seek(position)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            let _ = std::fs::remove_file(&self.temporary_path);
        }
    }
}

/// Where links lead. A rename would put a file in the place of a device as readily as in that of a file, and root may
/// do so: `/dev/null` would be gone for everyone.
fn final_path(path: PathBuf) -> Result<PathBuf> {
    let refuse = |what: &str, path: PathBuf| {
        Err(MediaError::new(MediaErrorKind::Write, what)
            .at(path)
            .advise("name a file to write or to replace"))
    };
    let Ok(found) = std::fs::symlink_metadata(&path) else { return Ok(path) };
    let is_link = found.is_symlink();
    match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() => refuse("this is a folder", path),
        Ok(found) if !found.is_file() => refuse("this is a device or a pipe, not a file", path),
        Ok(_) if is_link => std::fs::canonicalize(&path).map_err(|error| MediaError::write(error).at(path)),
        Ok(_) => Ok(path),
        Err(_) => refuse("this is a link that leads nowhere", path),
    }
}

/// Writes a file whole or not at all: `fill` writes its content.
pub fn write_atomically(path: &Path, fill: impl FnOnce(&mut AtomicFile) -> Result<()>) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    fill(&mut file).map_err(|error| error.at(path))?;
    file.commit()
}

#[cfg(test)]
mod tests;
