//! The operators: shapes are checked, operands found, shaders chosen and launched.

pub(crate) mod attention;
pub(crate) mod convolution;
pub(crate) mod elementwise;
mod ending;
pub(crate) mod linear;
pub(crate) mod movement;
mod product;
pub(crate) mod selection;
