//! The hub's cache on disk, in the layout that `huggingface_hub` uses.
//!
//! ```text
//! <cache>/models--facebook--sam-vit-base/blobs/<checksum>            the bytes, once
//!                                        blobs/<checksum>.incomplete a download that stopped
//!                                        snapshots/<commit>/<file>   a link to its blob
//!                                        refs/<revision>             the commit a branch or tag stands for
//!                                        .no_exist/<commit>/<file>   empty: the commit has no such file
//! <cache>/.locks/models--facebook--sam-vit-base/<checksum>.lock      held while a blob is being fetched
//! ```
//!
//! Everything gets its name by a rename at the end, so a reader never sees half of anything.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Component, Path, PathBuf};

use samovar_files::{make_folder, replace_with, write_bytes};

use super::checksum::Checksum;
use super::error::{HubError, Result};

/// One repository in the cache, seen at one revision.
pub(super) struct RepoCache<'a> {
    pub(super) repo_id: &'a str,
    pub(super) revision: &'a str,
    folder: PathBuf,
    locks: PathBuf,
}

impl<'a> RepoCache<'a> {
    pub(super) fn new(cache_dir: &Path, repo_id: &'a str, revision: &'a str) -> Result<Self> {
        let parts: Vec<&str> = repo_id.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| is_repo_word(part)) {
            return Err(HubError::invalid(repo_id, "this is no name of a repository"));
        }
        if !is_relative(revision) {
            return Err(HubError::invalid(repo_id, format!("\"{revision}\" is no branch, tag or commit")));
        }
        let name = format!("models--{}", parts.join("--"));
        let folder = cache_dir.join(&name);
        Ok(Self { repo_id, revision, folder, locks: cache_dir.join(".locks").join(name) })
    }

    pub(super) fn blob(&self, checksum: &Checksum) -> PathBuf {
        self.folder.join("blobs").join(checksum.as_str())
    }

    pub(super) fn partial(&self, checksum: &Checksum) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", checksum.as_str()))
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The snapshot folder of the revision, if the cache has it with all `files`.
    pub(super) fn snapshot_with(&self, files: &[&str]) -> Option<PathBuf> {
        let commit = if is_commit(self.revision) {
            self.revision.to_string()
        } else {
            let commit = fs::read_to_string(self.ref_path()).ok()?.trim().to_string();
            is_commit(&commit).then_some(commit)?
        };
        let folder = self.snapshot(&commit);
        // `is_file` follows the link, so a link whose blob is gone counts as absent.
        let is_complete = folder.is_dir() && files.iter().all(|file| folder.join(file).is_file());
        is_complete.then_some(folder)
    }

    /// Whether a file of a snapshot is there, or known not to exist.
    pub(super) fn is_settled(&self, snapshot: &Path, file: &str) -> bool {
        let commit = snapshot.file_name().unwrap_or_default();
        snapshot.join(file).is_file() || self.folder.join(".no_exist").join(commit).join(file).is_file()
    }

    /// Remembers that `commit` has no such file.
    pub(super) fn note_absent(&self, commit: &str, file: &str) -> Result<()> {
        let marker = self.folder.join(".no_exist").join(commit).join(file);
        if marker.is_file() {
            return Ok(());
        }
        self.make_parent(&marker)?;
        write_bytes(&marker, &[]).map_err(|error| self.error(&marker, error.into()))
    }

    /// Puts `file` of `commit` in the snapshot, as a link to its blob.
    pub(super) fn link(&self, commit: &str, file: &str, blob: &Path) -> Result<()> {
        let pointer = self.snapshot(commit).join(file);
        let up = "../".repeat(2 + file.split('/').count() - 1);
        let blob_name = blob.file_name().unwrap_or_default();
        let target = Path::new(&up).join("blobs").join(blob_name);
        if fs::read_link(&pointer).is_ok_and(|present| present == target) {
            return Ok(());
        }
        let make = |temporary: &Path| {
            let copy = || {
                fs::copy(blob, temporary)?;
                OpenOptions::new().write(true).open(temporary)?.sync_all()
            };
            symlink(&target, temporary).or_else(|_| fs::hard_link(blob, temporary)).or_else(|_| copy())
        };
        self.make_parent(&pointer)?;
        replace_with(&pointer, make).map_err(|error| self.error(&pointer, error.into()))
    }

    /// Notes which commit the revision stands for.
    pub(super) fn write_ref(&self, commit: &str) -> Result<()> {
        if self.revision == commit
            || fs::read_to_string(self.ref_path()).is_ok_and(|present| present == commit)
        {
            return Ok(());
        }
        let path = self.ref_path();
        self.make_parent(&path)?;
        write_bytes(&path, commit.as_bytes()).map_err(|error| self.error(&path, error.into()))
    }

    /// Takes the lock of a blob. `None` while another process holds it.
    pub(super) fn try_lock(&self, checksum: &Checksum) -> Result<Option<File>> {
        let path = self.locks.join(format!("{}.lock", checksum.as_str()));
        self.make_parent(&path)?;
        let file = File::create(&path).map_err(|error| self.error(&path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            // A file system without locks: two pulls at once may then do the same work twice, no worse.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(Some(file)),
            Err(TryLockError::Error(error)) => Err(self.error(&path, error)),
        }
    }

    pub(super) fn error(&self, path: &Path, error: io::Error) -> HubError {
        HubError::cache(self.repo_id, path, error)
    }

    fn ref_path(&self) -> PathBuf {
        self.folder.join("refs").join(self.revision)
    }

    /// Makes the folder that `path` is in.
    pub(super) fn make_parent(&self, path: &Path) -> Result<()> {
        let made = path.parent().map_or(Ok(()), make_folder);
        made.map_err(|error| self.error(path, error.into()))
    }
}

/// Refuses file names that would leave the snapshot folder.
pub(super) fn check_file_name(repo_id: &str, file: &str) -> Result<()> {
    if is_relative(file) {
        return Ok(());
    }
    Err(HubError::invalid(repo_id, format!("\"{file}\" is no file of a repository")))
}

/// Whether this is a full commit hash, which needs no ref and never changes.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_repo_word(word: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !word.is_empty() && word.len() <= 96 && !word.starts_with('.') && word.bytes().all(allowed)
}

fn is_relative(path: &str) -> bool {
    let plain = Path::new(path).components().all(|component| matches!(component, Component::Normal(_)));
    plain && !path.is_empty() && !path.contains(['\\', ':', '\0']) && !path.split('/').any(str::is_empty)
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}
