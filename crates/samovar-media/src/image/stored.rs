//! What is known of a picture before any pixel is decoded.

use samovar_geometry::{Image, Size};

use super::rgb::Orientation;

/// What decoding a picture takes, by what its header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    /// As stored.
    pub(super) size: Size<Image>,
    pub(super) orientation: Orientation,
    /// Bytes of the samples that the decoder gives.
    pub(super) sample_bytes: u64,
    /// Bytes that the decoder takes beside them.
    pub(super) working_bytes: u64,
    /// Bytes beside the samples while they become 8-bit RGB and alpha.
    pub(super) converting_bytes: u64,
    pub(super) has_alpha: bool,
}
