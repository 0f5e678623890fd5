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
