//! Limits beyond which a configuration is not believed, and how numbers are checked against them.
//!
//! Numbers above these are taken for damage or malice: several times those of the largest known models. Here are those
//! that several blocks share; the others stand beside their blocks.

use crate::error::{Error, Result};

/// Side of an input.
pub(crate) const MAX_INPUT_SIDE: usize = 8192;
/// Channels of a map, and widths of layers.
pub(crate) const MAX_CHANNELS: usize = 65_536;
/// Layers or blocks behind each other.
pub(crate) const MAX_DEPTH: usize = 256;
/// Heads of an attention.
pub(crate) const MAX_HEADS: usize = 256;
/// Tokens along a side; attention goes with its fourth power.
pub(crate) const MAX_GRID_SIDE: usize = 1024;

/// Checks `1..=limit`.
pub(crate) fn at_most(what: &str, value: usize, limit: usize) -> Result<()> {
    if (1..=limit).contains(&value) {
        return Ok(());
    }
    Err(Error::Config(format!("{what} is {value}, expected 1 to {limit}")))
}

/// Checks that heads share channels evenly, both within their limits.
pub(crate) fn divides(what: &str, channels: usize, heads: usize) -> Result<()> {
    at_most(&format!("{what}: channels"), channels, MAX_CHANNELS)?;
    at_most(&format!("{what}: heads"), heads, MAX_HEADS)?;
    if channels.is_multiple_of(heads) {
        return Ok(());
    }
    Err(Error::Config(format!("{what}: {heads} heads do not divide {channels} channels")))
}

/// Checks for a finite number over zero.
pub(crate) fn positive(what: &str, value: f32) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::Config(format!("{what} is {value}, expected a positive number")))
}
