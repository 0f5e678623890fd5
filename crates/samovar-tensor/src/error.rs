//! What can go wrong between a model and its numbers.

use crate::Shape;

/// Result of every operator.
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of tensors, operators and the pool.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device's budget does not hold the next buffer. Nothing was allocated.
    #[error(
        "out of memory: {needed_bytes} bytes needed, {available_bytes} of the budget of {budget_bytes} available; \
         raise the memory budget, or run a smaller batch or model"
    )]
    OutOfMemory {
        /// Bytes the operator asked for.
        needed_bytes: usize,
        /// Bytes the budget still had.
        available_bytes: usize,
        /// The device's whole budget.
        budget_bytes: usize,
    },
    /// The operands of an operator do not fit each other.
    #[error("{op}: {what}")]
    Shape {
        /// Operator that refused.
        op: &'static str,
        /// What did not fit, with the shapes.
        what: String,
    },
    /// A tensor holds another element type than the operator reads.
    #[error("expected {expected}, found {found} (tensor of shape {shape})")]
    DType {
        /// Type the reader wanted.
        expected: crate::DType,
        /// Type the tensor has.
        found: crate::DType,
        /// The tensor's shape.
        shape: Shape,
    },
    /// The values are in the memory of a device, where the host cannot read them.
    #[error("a tensor of shape {shape} lies in {device}; download it to read it")]
    NotOnHost {
        /// The tensor's shape.
        shape: Shape,
        /// The device's memory.
        device: String,
    },
    /// An operand lives on another device than the operator.
    #[error("{op}: an operand of shape {shape} is not on {device}; upload it there first")]
    WrongDevice {
        /// Operator that refused.
        op: &'static str,
        /// The operand's shape.
        shape: Shape,
        /// The device that was to compute.
        device: String,
    },
    /// Weights were packed by another backend, or for other instructions, than those that should read them.
    #[error("{op}: weights packed for {packed_for} on {device}; load the model on the device that runs it")]
    ForeignWeights {
        /// Operator that refused.
        op: &'static str,
        /// The layout they were packed in.
        packed_for: String,
        /// What the device reads.
        device: String,
    },
    /// A backend failed, now or in work that was asked for earlier.
    #[error("{device}: {what}")]
    Backend {
        /// The backend or its memory.
        device: String,
        /// What happened.
        what: String,
    },
    /// Somebody asked the work to stop, or its time was over.
    #[error("stopped before it was done")]
    Stopped,
    /// The tensor lives on a shape-only device and has no numbers.
    #[error("a tensor of the shape-only device has no values to read (shape {shape})")]
    NoValues {
        /// The tensor's shape.
        shape: Shape,
    },
}

impl Error {
    pub(crate) fn shape(op: &'static str, what: impl Into<String>) -> Self {
        Error::Shape { op, what: what.into() }
    }
}
