//! Displacements, one a pixel.

use samovar_geometry::{Image, Motion, Size};

/// Where each pixel of one picture is in another: the pixel in column `x` of row `y` is at
/// `(x + u[at], y + v[at])` there, `at = y * width + x`. All numbers are finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// Of the user's image, which the flow covers from edge to edge.
    pub image: Size<Image>,
    /// Pixels across and down.
    pub size: Size<Motion>,
    /// Displacement to the right, in pixels of [`Self::size`], row by row.
    pub u: Vec<f32>,
    /// Displacement downwards, likewise.
    pub v: Vec<f32>,
}
