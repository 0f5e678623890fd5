//! What can go wrong between a configuration and a mask.

/// Result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of models.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A weight is missing or has the wrong shape.
    #[error(transparent)]
    Weights(#[from] samovar_weights::Error),
    /// An operator refused, or memory ran out.
    #[error(transparent)]
    Tensor(#[from] samovar_tensor::Error),
    /// The configuration is not one of a model samovar runs.
    #[error("model configuration: {0}")]
    Config(String),
    /// A file holds tensors that the model does not use and that are not known to do no harm.
    #[error("{file}: {tensors}: {what}, and without that the masks would be others; {advice}")]
    UnusedTensors {
        /// The file.
        file: String,
        /// Some of the tensors, quoted.
        tensors: String,
        /// What they are.
        what: String,
        /// What to do.
        advice: String,
    },
    /// The model cannot do what was asked of it.
    #[error("a model of the family {family} has no {capability}; {capable}")]
    Capability {
        /// The model's family.
        family: String,
        /// What it lacks.
        capability: String,
        /// Models of the catalogue that can.
        capable: String,
    },
    /// Image or prompts do not fit the model.
    #[error("{0}")]
    Input(String),
}
