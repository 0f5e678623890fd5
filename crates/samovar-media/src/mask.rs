//! Masks: bits, and the forms they travel in.

mod bits;
mod boundary;
mod components;
mod distance;
mod labels;
mod nms;
mod rle;
mod transpose;

pub mod polygon;

pub use bits::BitMask;
pub use boundary::{Boundary, davis_reach};
pub use components::{
    Component, Components, Connectivity, SmallRegions, components_outside, connected_components,
    remove_small_regions,
};
pub use distance::deepest_point;
pub use labels::{LabelMap, LabelPainter, LabelRegion, decode_labels};
pub use nms::{batched_nms, nms};
pub use rle::{MAX_RLE_PIXELS, Rle};
