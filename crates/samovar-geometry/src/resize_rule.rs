//! How an image becomes a model's input canvas: the size it is resized to, and where its pixels land.

use crate::frame::{Grid, Image, Input};
use crate::shapes::Size;
use crate::transform::Transform;

/// A model family's way of fitting an image into its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResizeRule {
    /// SAM 1 and its kin: the longest side becomes `target`, the aspect ratio is kept, the rest of the
    /// `target` x `target` canvas (right and bottom) is padding.
    LongestSide {
        /// Side of the canvas, 1024 for SAM.
        target: u32,
    },
    /// SAM 2 and SAM 3: the image is stretched onto the whole canvas, the aspect ratio is not kept.
    Exact {
        /// Width of the canvas.
        width: u32,
        /// Height of the canvas.
        height: u32,
    },
}

impl ResizeRule {
    /// The model's whole canvas, padding included.
    pub const fn canvas(self) -> Size<Input> {
        match self {
            Self::LongestSide { target } => Size::square(target),
            Self::Exact { width, height } => Size::new(width, height),
        }
    }

    /// The part of the canvas the image covers, from the top left corner.
    ///
    /// For [`ResizeRule::LongestSide`] this is upstream's `get_preprocess_shape`: `scale = target / max(h, w)`, each
    /// side `int(side * scale + 0.5)`. A side that would round to nothing becomes one pixel (upstream fails there).
    pub fn resized(self, image: Size<Image>) -> Size<Input> {
        match self {
            Self::LongestSide { target } => {
                let scale = f64::from(target) / f64::from(image.longest_side().max(1));
                let side = |length: u32| ((f64::from(length) * scale + 0.5) as u32).clamp(1, target.max(1));
                Size::new(side(image.width), side(image.height))
            }
            Self::Exact { width, height } => Size::new(width, height),
        }
    }

    /// From the user's pixels to the model's canvas: `x * resized.width / image.width`, and y with its own factor.
    pub fn input_from_image(self, image: Size<Image>) -> Transform<Image, Input> {
        Transform::stretch(image, self.resized(image))
    }

    /// From the user's pixels to the cells of the mask logits; the grid covers the whole canvas, padding included.
    pub fn grid_from_image(self, image: Size<Image>, grid: Size<Grid>) -> Transform<Image, Grid> {
        Transform::stretch(self.canvas(), grid) * self.input_from_image(image)
    }
}

#[cfg(test)]
mod tests;
