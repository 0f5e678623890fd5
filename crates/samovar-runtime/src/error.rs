//! What can go wrong between a name, a picture and a mask.

use std::io;
use std::path::PathBuf;

use samovar_media::{MediaError, MediaErrorKind};

/// Result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of the runtime. All of them say what, where and what next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An image, mask or annotation cannot be read or written.
    #[error(transparent)]
    Media(#[from] samovar_media::MediaError),
    /// A model cannot be loaded or run.
    #[error(transparent)]
    Model(#[from] samovar_models::Error),
    /// The hub, or the way to it.
    #[error(transparent)]
    Hub(#[from] crate::hub::HubError),
    /// The processor lacks what was asked of it.
    #[error(transparent)]
    Cpu(#[from] samovar_cpu::CpuError),
    /// A device cannot be used.
    #[error("--device {device}: {what}")]
    Device {
        /// As it was chosen.
        device: String,
        /// Why, and what next.
        what: String,
    },
    /// A file other than media and weights.
    #[error("\"{}\": {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What about it, and what next.
        what: String,
        /// What the system said.
        source: Option<io::Error>,
    },
    /// The caller asked for something that cannot be: a prompt outside the image, a parameter out of range.
    #[error("{0}")]
    Usage(String),
    /// A document that has no prompts, or is none of prompts.
    #[error("{0}")]
    NoPrompts(String),
    /// No model of this name is known or here.
    #[error("{0}")]
    UnknownModel(String),
    /// The work does not fit the memory budget; it was not begun.
    #[error(
        "{what} needs {} and the memory budget is {}: {breakdown}; raise the budget (--memory {}MB, \
         or Options::memory_budget_bytes), or ask for less: a smaller model, picture or batch",
        samovar_resources::memory::bytes_needed(*needed_bytes),
        samovar_resources::memory::bytes(*budget_bytes),
        needed_bytes.div_ceil(1_000_000)
    )]
    DoesNotFit {
        /// The work.
        what: String,
        /// Bytes it takes at the worst moment.
        needed_bytes: usize,
        /// Bytes it may take.
        budget_bytes: usize,
        /// Where the bytes go.
        breakdown: String,
    },
    /// The machine has next to no memory left, and the work was not begun.
    #[error(
        "{what} was not begun: {} of the {} of this {} are in use, and from {:.0} % on no new work begins; end what else \
         takes memory and run it again, or let it begin all the same (Options::memory_thresholds.critical over {:.3})",
        samovar_resources::memory::bytes(*used_bytes),
        samovar_resources::memory::bytes(*total_bytes),
        if *is_container { "container" } else { "machine" },
        100.0 * critical,
        *used_bytes as f64 / (*total_bytes).max(1) as f64
    )]
    Scarce {
        /// The work.
        what: String,
        /// Bytes in use, by whomever.
        used_bytes: usize,
        /// Bytes there are.
        total_bytes: usize,
        /// Whether they are those of a container.
        is_container: bool,
        /// The share from which on nothing begins.
        critical: f64,
    },
    /// A model answered with numbers that mean nothing.
    #[error(
        "{model}: the model's weights give numbers that are not finite; the file is damaged or the dtype too narrow for \
         it: get the file again, or use --dtype f32"
    )]
    NotFinite {
        /// The model.
        model: String,
    },
    /// Whoever watched the work asked it to stop.
    #[error("stopped; what was finished is kept")]
    Stopped,
}

/// The class of an [`Error`], for code that has to decide; people read the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for cannot be; asking again the same way will not help.
    Usage,
    /// Memory does not suffice.
    OutOfMemory,
    /// Stopped on request.
    Stopped,
    /// A file, a network or a model did not do what it should.
    Failed,
}

impl ErrorKind {
    /// The class of an error of any kind, by the first of its causes that is one of this library's, pictures' included; `None` if none is.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let of_media = |error: &MediaError| match error.kind() {
            MediaErrorKind::OutOfMemory => ErrorKind::OutOfMemory,
            _ => ErrorKind::Failed,
        };
        std::iter::successors(Some(error), |error| error.source()).find_map(|cause| {
            let own = cause.downcast_ref::<Error>().map(Error::kind);
            own.or_else(|| cause.downcast_ref::<MediaError>().map(of_media))
        })
    }
}

impl Error {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        use samovar_cpu::CpuError as Cpu;
        use samovar_models::Error as Model;
        match self {
            Error::Usage(_) | Error::NoPrompts(_) | Error::UnknownModel(_) => ErrorKind::Usage,
            Error::Cpu(Cpu::OutOfMemory) => ErrorKind::OutOfMemory,
            Error::Cpu(Cpu::Thread(_)) => ErrorKind::Failed,
            Error::Cpu(_) | Error::Device { .. } => ErrorKind::Usage,
            Error::Media(error) if error.kind() == MediaErrorKind::OutOfMemory => ErrorKind::OutOfMemory,
            Error::DoesNotFit { .. } | Error::Scarce { .. } => ErrorKind::OutOfMemory,
            Error::Model(Model::Tensor(samovar_tensor::Error::OutOfMemory { .. })) => ErrorKind::OutOfMemory,
            Error::Stopped | Error::Model(Model::Tensor(samovar_tensor::Error::Stopped)) => {
                ErrorKind::Stopped
            }
            _ => ErrorKind::Failed,
        }
    }

    /// Bytes of a budget with which work that was refused before it began would have begun; `None` for other errors.
    pub fn needed_bytes(&self) -> Option<usize> {
        match self {
            Error::DoesNotFit { needed_bytes, .. } => Some(*needed_bytes),
            _ => None,
        }
    }

    /// Whether memory ran out while work was under way, which less at once may not need; what was refused before it began
    /// is not.
    pub fn is_out_of_memory_midway(&self) -> bool {
        self.kind() == ErrorKind::OutOfMemory
            && !matches!(self, Error::DoesNotFit { .. } | Error::Scarce { .. })
    }

    /// The same error, naming the model that was asked for what it cannot do.
    pub(crate) fn of_model(self, name: String) -> Self {
        match self {
            Error::Model(lacks @ samovar_models::Error::Capability { .. }) => {
                Error::Usage(format!("{name}: {lacks}"))
            }
            other => other,
        }
    }

    /// The same refusal of work that needs so many bytes more, for this.
    pub(crate) fn with(self, whose: &str, more_bytes: usize) -> Self {
        match self {
            Error::DoesNotFit { what, needed_bytes, budget_bytes, breakdown } => Error::DoesNotFit {
                what,
                needed_bytes: needed_bytes.saturating_add(more_bytes),
                budget_bytes,
                breakdown: format!(
                    "{breakdown}, {} for {}",
                    samovar_resources::memory::bytes(more_bytes),
                    whose.trim_end_matches(',')
                ),
            },
            other => other,
        }
    }

    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Error::Usage(what.into())
    }

    pub(crate) fn file(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Error::File { path: path.into(), what: what.into(), source: None }
    }

    pub(crate) fn io(path: impl Into<PathBuf>, what: &str, source: io::Error) -> Self {
        Error::File { path: path.into(), what: format!("{what}: {source}"), source: Some(source) }
    }
}

impl From<samovar_files::Error> for Error {
    fn from(error: samovar_files::Error) -> Self {
        let (path, what) = (error.path().to_owned(), format!("{}; {}", error.what(), error.next_step()));
        Error::File { path, what, source: Some(error.into()) }
    }
}

impl From<samovar_tensor::Error> for Error {
    fn from(error: samovar_tensor::Error) -> Self {
        Error::Model(error.into())
    }
}

impl From<samovar_weights::Error> for Error {
    fn from(error: samovar_weights::Error) -> Self {
        Error::Model(error.into())
    }
}
