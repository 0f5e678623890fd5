//! The picture that motion is measured on: small, without colour.

use samovar_geometry::{Image, Motion, Size};

use crate::error::{MediaError, MediaErrorKind, Result};
use crate::image::RgbImage;
use crate::resize::resize_bilinear;
use crate::room::zeros;
use crate::simd::multiversion;

/// A reduced picture of brightness, one byte a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grey {
    image: Size<Image>,
    size: Size<Motion>,
    pixels: Vec<u8>,
}

impl Grey {
    /// The brightness (ITU-R BT.601) of an image, reduced with an antialiasing filter so that it fits into `within`; the
    /// proportions stay, smaller images keep their size. `threads` is how many to use at most.
    ///
    /// # Errors
    /// [`MediaErrorKind::Empty`] if `within` has no pixels, [`MediaErrorKind::OutOfMemory`].
    pub fn of(image: &RgbImage, within: Size<Motion>, threads: usize) -> Result<Self> {
        let size = fitted(image.size(), within);
        let reduced;
        let pixels = if size == image.size() {
            image.pixels()
        } else {
            reduced = resize_bilinear(image, size, threads)?;
            reduced.pixels()
        };
        Self::from_raw(image.size(), size.as_frame(), luma(pixels)?)
    }

    /// Wraps brightness, row by row; `image` is the size of the image that it covers from edge to edge.
    ///
    /// # Errors
    /// [`MediaErrorKind::Empty`] without pixels, [`MediaErrorKind::Mismatch`] if there are not `width * height` values.
    pub fn from_raw(image: Size<Image>, size: Size<Motion>, pixels: Vec<u8>) -> Result<Self> {
        if image.is_empty() || size.is_empty() {
            let what = format!("brightness of {size} for an image of {image} has no pixels");
            return Err(MediaError::new(MediaErrorKind::Empty, what));
        }
        if size.area() != pixels.len() as u64 {
            return Err(MediaError::mismatch(format!(
                "brightness of {size} takes {} values, {} were given",
                size.area(),
                pixels.len()
            )));
        }
        Ok(Self { image, size, pixels })
    }

    /// The size of the user's image.
    pub fn image(&self) -> Size<Image> {
        self.image
    }

    /// Pixels across and down.
    pub fn size(&self) -> Size<Motion> {
        self.size
    }

    /// The brightness, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }
}

/// The largest size with an image's proportions, its own at most, that fits.
fn fitted(image: Size<Image>, within: Size<Motion>) -> Size<Image> {
    let across = f64::from(within.width) / f64::from(image.width);
    let down = f64::from(within.height) / f64::from(image.height);
    let scale = across.min(down).min(1.0);
    let side = |side: u32, within: u32| ((f64::from(side) * scale).round() as u32).max(1).min(within);
    Size::new(side(image.width, within.width), side(image.height, within.height))
}

/// Brightness in the fixed point that OpenCV has for it.
fn luma(pixels: &[u8]) -> Result<Vec<u8>> {
    let pixels = pixels.as_chunks::<3>().0;
    let mut brightness = zeros(pixels.len())?;
    luma_into(pixels, &mut brightness);
    Ok(brightness)
}

multiversion! {
    fn luma_into(pixels: &[[u8; 3]], brightness: &mut [u8]) {
        for (value, &[r, g, b]) in brightness.iter_mut().zip(pixels) {
            *value = ((u32::from(r) * 4899 + u32::from(g) * 9617 + u32::from(b) * 1868 + (1 << 13)) >> 14) as u8;
        }
    }
}
