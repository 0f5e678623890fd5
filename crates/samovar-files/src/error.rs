//! Why a file was not written: what, where and what next.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of an [`Error`], for code that has to decide; people read the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What is at the place, or its name, rules out a file there: a folder, a device, a pipe, a link to nowhere.
    NotAFile,
    /// The folder in which the file should be is not there.
    NoFolder,
    /// The disk or the quota is full.
    Full,
    /// The system refused for any other reason.
    Failed,
}

/// A file that could not be written. Prints as `"masks/a.png": what happened; what next`.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    path: PathBuf,
    what: String,
    next_step: String,
    source: Option<io::Error>,
}

impl Error {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file that was to be written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What happened, in lower case.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What to do about it.
    pub fn next_step(&self) -> &str {
        &self.next_step
    }

    /// There is something at `path` that no file may replace.
    pub(crate) fn not_a_file(path: &Path, what: &str) -> Self {
        Self {
            kind: ErrorKind::NotAFile,
            path: path.to_owned(),
            what: what.to_owned(),
            next_step: "name a file to write or to replace".to_owned(),
            source: None,
        }
    }

    /// The system refused to write the file that should be at `path`.
    pub fn io(path: &Path, error: io::Error) -> Self {
        let folder = folder_of(path);
        let shown = folder.display();
        let (kind, next_step) = match error.kind() {
            io::ErrorKind::NotFound if !folder.is_dir() => {
                (ErrorKind::NoFolder, format!("there is no folder \"{shown}\"; make it first"))
            }
            io::ErrorKind::NotFound => {
                (ErrorKind::Failed, "something removed it while it was written; run it again".to_owned())
            }
            io::ErrorKind::NotADirectory => {
                (ErrorKind::NoFolder, format!("\"{shown}\" is no folder; name another place"))
            }
            io::ErrorKind::PermissionDenied => {
                (ErrorKind::Failed, format!("check the permissions of the folder \"{shown}\""))
            }
            io::ErrorKind::ReadOnlyFilesystem => (
                ErrorKind::Failed,
                format!("\"{shown}\" is on a file system that is read-only; name a place on another"),
            ),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                (ErrorKind::Full, "free space there, or name a file on another disk".to_owned())
            }
            io::ErrorKind::FileTooLarge => (
                ErrorKind::Failed,
                "a limit of the file system or of this process (ulimit -f) is smaller than the file"
                    .to_owned(),
            ),
            io::ErrorKind::InvalidFilename => (
                ErrorKind::NotAFile,
                "the name is too long for the file system, or none; give a shorter one".to_owned(),
            ),
            _ => (ErrorKind::Failed, format!("check that the folder \"{shown}\" is writable")),
        };
        Self {
            kind,
            path: path.to_owned(),
            what: format!("writing failed: {error}"),
            next_step,
            source: Some(error),
        }
    }
}

/// The folder a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What the system said, or what was found instead of a file.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        error.source.unwrap_or_else(|| io::Error::other(format!("{}; {}", error.what, error.next_step)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\": {}; {}", self.path.display(), self.what, self.next_step)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}
