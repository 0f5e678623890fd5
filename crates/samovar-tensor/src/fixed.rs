//! Shapes of which the number of dimensions is known.

use crate::error::{Error, Result};
use crate::shape::Shape;

impl Shape {
    /// The shape of an operator's result, or an error that names the operator.
    pub(crate) fn of_result(op: &'static str, dims: &[usize]) -> Result<Self> {
        Shape::try_new(dims)
            .ok_or_else(|| Error::shape(op, format!("a result of {dims:?} is beyond all memory")))
    }

    /// The same for this shape with another last dimension.
    pub(crate) fn result_with_channels(&self, op: &'static str, channels: usize) -> Result<Self> {
        let too_large =
            || Error::shape(op, format!("{channels} channels for each row of {self} are beyond all memory"));
        self.with_channels(channels).ok_or_else(too_large)
    }

    /// Exactly `N` dimensions, or an error that names the operator.
    pub fn fixed<const N: usize>(&self, op: &'static str) -> Result<[usize; N]> {
        self.dims().try_into().map_err(|_| Error::shape(op, format!("expected {N} dimensions, found {self}")))
    }
}
