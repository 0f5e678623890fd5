//! The largest image that will be decoded.

/// The largest image that will be decoded. Both limits hold at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most pixels (width times height).
    pub max_pixels: u64,
    /// Most bytes: of the file, and of what decoding it allocates.
    pub max_bytes: u64,
}

impl Default for DecodeLimits {
    /// 256 megapixels and 2 GiB: beyond any camera, below what hurts.
    fn default() -> Self {
        Self { max_pixels: 256 << 20, max_bytes: 2 << 30 }
    }
}
