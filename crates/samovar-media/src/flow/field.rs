//! Displacements, one a pixel.

use samovar_geometry::{Motion, Size};

/// Where each pixel of one picture is in another: the pixel in column `x` of row `y` is at
/// `(x + u[at], y + v[at])` there, `at = y * width + x`. All numbers are finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// Pixels across and down, which cover the user's image from edge to edge.
    pub size: Size<Motion>,
    /// Displacement to the right, in pixels of [`Self::size`], row by row.
    pub u: Vec<f32>,
    /// Displacement downwards, likewise.
    pub v: Vec<f32>,
}
