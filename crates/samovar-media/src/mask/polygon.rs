//! Outlines of masks: along the pixels' edges, so exact that filling them gives the very same mask back.

mod bridge;
mod fill;
mod ring;
mod simplify;
mod trace;

pub use bridge::without_holes;
pub use fill::fill_polygons;
pub use ring::{Polygon, Ring, signed_area};
pub use simplify::simplify;
pub use trace::trace;

#[cfg(test)]
mod tests;
