//! What can go wrong with media: an opaque error that says what, where and what next.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

/// Result of this crate's operations.
pub type Result<T, E = MediaError> = std::result::Result<T, E>;

/// The class of a [`MediaError`], for code that has to decide; people read the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MediaErrorKind {
    /// The file is not there.
    NotFound,
    /// The file is there, but reading it failed.
    Read,
    /// The output could not be written; nothing half-written was left behind.
    Write,
    /// The content is no format this crate reads, or a variant of one that it does not read.
    Unsupported,
    /// The content is cut short, damaged or contradicts itself.
    Damaged,
    /// The content is larger than the limits allow; nothing of that size was allocated.
    TooLarge,
    /// The system has no memory for what has to be made.
    OutOfMemory,
    /// The image has no pixels.
    Empty,
    /// Sizes or lengths handed in by the caller do not belong together.
    Mismatch,
    /// The shot has no such frame, or cannot go there.
    NoSuchFrame,
    /// A program that reads such files is not on this machine.
    MissingProgram,
}

impl MediaErrorKind {
    fn next_step(self) -> &'static str {
        match self {
            Self::NotFound => "check the path",
            Self::Read => "check that the file can be read",
            Self::Write => "check that the folder exists, is writable and has free space",
            Self::Unsupported => "convert it to PNG, JPEG, WebP, TIFF, BMP, GIF, PNM or OpenEXR",
            Self::Damaged => "get the file again from where it came from",
            Self::TooLarge => {
                "make it smaller, or raise the limit (--max-pixels, or `DecodeLimits::of_pixels`)"
            }
            Self::OutOfMemory => "close other programs, or make the image smaller",
            Self::Empty => "it needs at least one pixel",
            Self::Mismatch => "check the sizes that were passed in",
            Self::NoSuchFrame => "name a frame that the shot has",
            Self::MissingProgram => {
                "install it (`apt install ffmpeg`, `brew install ffmpeg`, `winget install ffmpeg`), or give the frames as pictures"
            }
        }
    }
}

/// An error of this crate. Prints as `"photo.jpg": what happened; what next`.
#[derive(Debug)]
pub struct MediaError {
    kind: MediaErrorKind,
    path: Option<PathBuf>,
    what: String,
    next_step: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl MediaError {
    /// An error of this kind; `what` says what happened, in lower case, with the numbers that matter.
    pub fn new(kind: MediaErrorKind, what: impl Into<String>) -> Self {
        Self { kind, path: None, what: what.into(), next_step: None, source: None }
    }

    /// The class of the error.
    pub fn kind(&self) -> MediaErrorKind {
        self.kind
    }

    /// The file concerned, where there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The same error, naming the file, unless it names one already.
    #[must_use]
    pub fn at(mut self, path: impl Into<PathBuf>) -> Self {
        self.path.get_or_insert_with(|| path.into());
        self
    }

    /// The same error with its own advice in place of the kind's.
    #[must_use]
    pub fn advise(mut self, next_step: impl Into<String>) -> Self {
        self.next_step = Some(next_step.into());
        self
    }

    /// The same error, saying which part of the file it is about.
    #[must_use]
    pub(crate) fn of_part(mut self, part: impl fmt::Display) -> Self {
        self.what = format!("{part}: {}", self.what);
        self
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn mismatch(what: impl Into<String>) -> Self {
        Self::new(MediaErrorKind::Mismatch, what)
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::new(MediaErrorKind::Damaged, what)
    }

    pub(crate) fn too_large(what: impl Into<String>) -> Self {
        Self::new(MediaErrorKind::TooLarge, what)
    }

    /// The same for what would be read with another limit on pixels.
    pub(crate) fn too_large_unless(what: impl Into<String>, max_pixels: u64) -> Self {
        Self::too_large(what).advise(format!(
            "make it smaller, or raise the limit (--max-pixels {max_pixels}, or `DecodeLimits::of_pixels`)"
        ))
    }

    /// A failed read.
    pub(crate) fn read(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::OutOfMemory => MediaErrorKind::OutOfMemory,
            std::io::ErrorKind::NotFound => MediaErrorKind::NotFound,
            std::io::ErrorKind::UnexpectedEof => MediaErrorKind::Damaged,
            _ => MediaErrorKind::Read,
        };
        let what = match kind {
            MediaErrorKind::NotFound => "there is no such file".to_string(),
            MediaErrorKind::Damaged => "the data ends too early".to_string(),
            MediaErrorKind::OutOfMemory => "the system has no memory for the file".to_string(),
            _ => format!("reading failed: {error}"),
        };
        Self::new(kind, what).caused_by(error)
    }
}

impl From<samovar_files::Error> for MediaError {
    fn from(error: samovar_files::Error) -> Self {
        Self::new(MediaErrorKind::Write, error.what())
            .at(error.path())
            .advise(error.next_step())
            .caused_by(error)
    }
}

impl fmt::Display for MediaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "\"{}\": ", path.display())?;
        }
        write!(f, "{}; {}", self.what, self.next_step.as_deref().unwrap_or(self.kind.next_step()))
    }
}

impl Error for MediaError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as &(dyn Error + 'static))
    }
}
