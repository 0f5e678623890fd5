//! Sides in `config.json`: transformers writes one number, or one for each axis.

use serde::Deserialize;

use crate::error::{Error, Result};

/// One number for both sides, or one for each axis.
#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(untagged)]
pub(super) enum Side {
    One(usize),
    Two([usize; 2]),
}

impl Side {
    /// Of a square; refuses others, naming `what` they are.
    pub(super) fn square(self, what: &str) -> Result<usize> {
        match self {
            Side::One(side) => Ok(side),
            Side::Two([height, width]) if height == width => Ok(height),
            Side::Two([height, width]) => {
                Err(Error::Config(format!("{what} {height}x{width} is not square")))
            }
        }
    }
}
