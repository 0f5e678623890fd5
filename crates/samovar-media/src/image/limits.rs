//! The largest image that will be decoded.

use samovar_geometry::{Image, Size};

use crate::error::{MediaError, MediaErrorKind, Result};

/// The largest image that will be decoded. Both limits hold at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most pixels (width times height).
    pub max_pixels: u64,
    /// Most bytes: of the file, and of what decoding it allocates.
    pub max_bytes: u64,
}

impl DecodeLimits {
    /// Bytes allowed for each pixel: 16-bit RGB as stored takes six, and the picture made of it three, the alpha one. What
    /// takes more needs a limit as if it had more pixels, and the error says which.
    const BYTES_PER_PIXEL: u64 = 8;
    /// A small picture may have large metadata.
    const LEAST_BYTES: u64 = 64 << 20;

    /// Up to so many pixels, and a number of bytes in proportion.
    pub const fn of_pixels(max_pixels: u64) -> Self {
        let bytes = max_pixels.saturating_mul(Self::BYTES_PER_PIXEL);
        Self { max_pixels, max_bytes: if bytes < Self::LEAST_BYTES { Self::LEAST_BYTES } else { bytes } }
    }

    /// The pixels that [`DecodeLimits::of_pixels`] must be given for so many pixels and bytes.
    pub(crate) const fn pixels_for(pixels: u64, bytes: u64) -> u64 {
        let by_bytes = if bytes <= Self::LEAST_BYTES { 0 } else { bytes.div_ceil(Self::BYTES_PER_PIXEL) };
        if pixels > by_bytes { pixels } else { by_bytes }
    }
}

impl Default for DecodeLimits {
    /// 256 megapixels and 2 GiB: beyond any camera, below what hurts.
    fn default() -> Self {
        Self::of_pixels(256 << 20)
    }
}

/// Refuses sizes without pixels, with too many, or of which decoding takes too many bytes.
pub(crate) fn check_limits(size: Size<Image>, bytes: u64, limits: &DecodeLimits) -> Result<()> {
    if size.is_empty() {
        return Err(MediaError::new(MediaErrorKind::Empty, format!("the image is {size} pixels")));
    }
    let what = if size.area() > limits.max_pixels {
        format!("the image is {size}, {} pixels, the limit is {}", size.area(), limits.max_pixels)
    } else if bytes > limits.max_bytes {
        format!("decoding the image of {size} takes {bytes} bytes, the limit is {}", limits.max_bytes)
    } else {
        return Ok(());
    };
    Err(MediaError::too_large_unless(what, DecodeLimits::pixels_for(size.area(), bytes)))
}
