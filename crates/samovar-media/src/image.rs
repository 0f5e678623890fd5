//! Images: pixels in one known layout, decoding with limits, and images that load when first looked at.

mod colour;
mod decode;
mod depth;
mod exr;
mod foreign;
mod guard;
mod indices;
mod jpeg;
mod lazy;
mod limits;
mod pages;
mod raw;
mod rgb;
mod stored;
mod tiff;
mod webp;

pub use colour::ColourSpace;
pub use decode::{
    ImageFormat, ImageMetadata, decode_bytes, decode_bytes_as, decode_file, decode_file_as, decode_mask_file,
    metadata_of_bytes, read_metadata,
};
pub use foreign::{foreign_by_ending, foreign_by_start, how_to_convert};
pub use guard::is_decoding;
pub use lazy::LazyImage;
pub use limits::DecodeLimits;
pub(crate) use limits::check_limits;
pub use rgb::{Orientation, RgbImage};

pub(crate) use colour::{Clipped, View};
pub(crate) use decode::{decode_dynamic, decode_frame, values_of};
pub(crate) use depth::RangeOfShot;
pub(crate) use indices::palette_indices;
