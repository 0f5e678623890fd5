//! What can be wrong with a weight file, and what to do about it.

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of weight files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] samovar_files::Error),
    /// The file is not what its format demands: truncated, damaged, hostile, or another format.
    #[error("{file}: {what}")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// A pickle asks for something other than tensors.
    #[error(
        "{file}: refusing to run code: the pickle asks for `{global}`; only tensors and plain containers are read. \
         Save the weights alone: torch.save(model.state_dict(), ...), or convert the file to safetensors"
    )]
    Code {
        /// The file.
        file: String,
        /// `module.name` of what the pickle wanted to call.
        global: String,
    },
    /// The model needs a tensor that the file lacks.
    #[error("{file}: no tensor `{tensor}`{hint}")]
    Missing {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// What the file looks like instead, as a clause that starts with `; `, or nothing.
        hint: Box<str>,
    },
    /// A tensor has another shape than the model expects.
    #[error("{file}: tensor `{tensor}`: expected {expected:?}, found {found:?}{hint}")]
    ShapeMismatch {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// Shape the model expects.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
        /// What the file looks like instead, as a clause that starts with `; `, or nothing.
        hint: Box<str>,
    },
    /// A tensor is in the file, but in a form that is not read.
    #[error("{file}: tensor `{tensor}`: {what}")]
    Unsupported {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// What about it.
        what: String,
    },
}

impl Error {
    pub(crate) fn io(file: &str, source: std::io::Error) -> Self {
        Error::Io { file: file.to_owned(), source }
    }

    pub(crate) fn malformed(file: &str, what: impl Into<String>) -> Self {
        Error::Malformed { file: file.to_owned(), what: what.into() }
    }

    pub(crate) fn unsupported(file: &str, tensor: &str, what: impl Into<String>) -> Self {
        Error::Unsupported { file: file.to_owned(), tensor: tensor.to_owned(), what: what.into() }
    }
}
