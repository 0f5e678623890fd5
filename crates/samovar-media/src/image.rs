//! Images: pixels in one known layout, decoding with limits, and images that load when first looked at.

mod decode;
mod jpeg;
mod lazy;
mod rgb;
mod webp;

pub use decode::{
    DecodeLimits, ImageFormat, ImageMetadata, decode_bytes, decode_file, decode_mask_file, read_metadata,
};
pub use lazy::LazyImage;
pub use rgb::{Orientation, RgbImage};

pub(crate) use decode::decode_dynamic;
