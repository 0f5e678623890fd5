//! The one pixel layout everything here works on: 8-bit RGB, interleaved, rows from top to bottom without gaps.

use std::fmt;
use std::sync::Arc;

use samovar_geometry::{Image, Size};

use crate::error::{MediaError, MediaErrorKind, Result};
use crate::room::{collected, room, zeros};

/// How a camera was held, as EXIF says it. Applied on decoding, so pixels and coordinates are always upright.
pub use ::image::metadata::Orientation;

/// An image of 8-bit RGB: byte `(y * width + x) * 3 + c` is channel `c` (0 red, 1 green, 2 blue) of the pixel in
/// column `x` and row `y`. Has at least one pixel. Values are as stored (usually sRGB); no colour management.
///
/// What the file had besides goes with it, for cut-outs: alpha and colour profile; and what the user should know of how
/// it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage {
    size: Size<Image>,
    pixels: Vec<u8>,
    alpha: Option<Vec<u8>>,
    icc_profile: Option<Arc<[u8]>>,
    notes: Vec<String>,
}

impl RgbImage {
    /// The same picture in memory of its own.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
    pub fn try_clone(&self) -> Result<Self> {
        let copy = |bytes: &Vec<u8>| collected(bytes.len(), bytes.iter().copied());
        let (pixels, alpha) = (copy(&self.pixels)?, self.alpha.as_ref().map(copy).transpose()?);
        let (icc_profile, notes) = (self.icc_profile.clone(), self.notes.clone());
        Ok(Self { size: self.size, pixels, alpha, icc_profile, notes })
    }

    /// Wraps pixels in this layout; refuses a length other than `width * height * 3`, and no pixels at all.
    pub fn from_raw(size: Size<Image>, pixels: Vec<u8>) -> Result<Self> {
        if size.is_empty() {
            return Err(MediaError::new(MediaErrorKind::Empty, format!("an image of {size} has no pixels")));
        }
        if size.area().checked_mul(3) != Some(pixels.len() as u64) {
            return Err(MediaError::mismatch(format!(
                "an RGB image of {size} takes {} bytes, {} were given",
                u128::from(size.area()) * 3,
                pixels.len()
            )));
        }
        Ok(Self { size, pixels, alpha: None, icc_profile: None, notes: Vec::new() })
    }

    /// The same image with an alpha channel, one value a pixel, not multiplied into the colours. An opaque one is none.
    pub fn with_alpha(mut self, alpha: Vec<u8>) -> Result<Self> {
        if alpha.len() as u64 != self.size.area() {
            let what = format!("the alpha of an image of {} has {} values", self.size, alpha.len());
            return Err(MediaError::mismatch(what));
        }
        self.alpha = Some(alpha).filter(|alpha| alpha.iter().any(|&value| value < 255));
        Ok(self)
    }

    /// The same image with the ICC profile that its values are in.
    #[must_use]
    pub fn with_icc_profile(mut self, profile: impl Into<Arc<[u8]>>) -> Self {
        self.icc_profile = Some(profile.into());
        self
    }

    /// The same image with one more thing to know.
    #[must_use]
    pub fn with_note(mut self, note: String) -> Self {
        self.notes.push(note);
        self
    }

    /// The same image with nothing more to know.
    #[must_use]
    pub fn without_notes(self) -> Self {
        Self { notes: Vec::new(), ..self }
    }

    /// The alpha channel, row by row, where the file has one that is not opaque throughout.
    pub fn alpha(&self) -> Option<&[u8]> {
        self.alpha.as_deref()
    }

    /// The ICC profile of the values, where the file has one for RGB.
    pub fn icc_profile(&self) -> Option<&[u8]> {
        self.icc_profile.as_deref()
    }

    /// What was guessed or left out when the file was read, each a phrase for people.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// An image whose pixel at (x, y) is `f(x, y)`. For tests and test pictures; panics on a size without pixels.
    pub fn from_fn(size: Size<Image>, mut f: impl FnMut(u32, u32) -> [u8; 3]) -> Self {
        assert!(!size.is_empty(), "an image needs at least one pixel");
        let mut pixels = Vec::with_capacity(size.area() as usize * 3);
        for y in 0..size.height {
            for x in 0..size.width {
                pixels.extend_from_slice(&f(x, y));
            }
        }
        Self { size, pixels, alpha: None, icc_profile: None, notes: Vec::new() }
    }

    /// Width and height.
    pub fn size(&self) -> Size<Image> {
        self.size
    }

    /// Pixels across.
    pub fn width(&self) -> u32 {
        self.size.width
    }

    /// Pixels down.
    pub fn height(&self) -> u32 {
        self.size.height
    }

    /// All bytes, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes of row `y`, which must exist.
    pub fn row(&self, y: u32) -> &[u8] {
        let stride = self.size.width as usize * 3;
        &self.pixels[y as usize * stride..][..stride]
    }

    /// The bytes of row `y`, which must exist, to write to.
    pub(crate) fn row_mut(&mut self, y: u32) -> &mut [u8] {
        let stride = self.size.width as usize * 3;
        &mut self.pixels[y as usize * stride..][..stride]
    }

    /// The pixel in column `x` of row `y`, which must exist.
    pub fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        let row = self.row(y);
        let at = x as usize * 3;
        [row[at], row[at + 1], row[at + 2]]
    }

    /// The bytes themselves.
    pub fn into_raw(self) -> Vec<u8> {
        self.pixels
    }

    /// The part from (`x0`, `y0`) to but without (`x1`, `y1`), for crops; edges beyond the image are cut off.
    pub fn crop(&self, x0: u32, y0: u32, x1: u32, y1: u32) -> Result<Self> {
        let (x1, y1) = (x1.min(self.size.width), y1.min(self.size.height));
        if x0 >= x1 || y0 >= y1 {
            let what =
                format!("the crop ({x0}, {y0})..({x1}, {y1}) of an image of {} has no pixels", self.size);
            return Err(MediaError::new(MediaErrorKind::Empty, what));
        }
        let mut pixels = room((x1 - x0) as usize * (y1 - y0) as usize * 3)?;
        for y in y0..y1 {
            pixels.extend_from_slice(&self.row(y)[x0 as usize * 3..x1 as usize * 3]);
        }
        let mut crop = Self::from_raw(Size::new(x1 - x0, y1 - y0), pixels)?;
        if let Some(alpha) = &self.alpha {
            let rows = alpha.chunks_exact(self.size.width as usize).take(y1 as usize).skip(y0 as usize);
            let mut cropped = room((x1 - x0) as usize * (y1 - y0) as usize)?;
            rows.for_each(|row| cropped.extend_from_slice(&row[x0 as usize..x1 as usize]));
            crop = crop.with_alpha(cropped)?;
        }
        Ok(Self { icc_profile: self.icc_profile.clone(), notes: self.notes.clone(), ..crop })
    }

    /// The image turned and mirrored as `orientation` asks.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind): what is turned is a second picture for a moment.
    pub fn oriented(self, orientation: Orientation) -> Result<Self> {
        if orientation == Orientation::NoTransforms {
            return Ok(self);
        }
        let Turn { size, .. } = Turn::of(orientation, self.size);
        let pixels = turned::<3>(self.pixels, orientation, self.size)?;
        let alpha = self.alpha.map(|alpha| turned::<1>(alpha, orientation, self.size)).transpose()?;
        Ok(Self { size, pixels, alpha, icc_profile: self.icc_profile, notes: self.notes })
    }
}

/// Where a turned picture's pixels come from.
struct Turn {
    size: Size<Image>,
    /// Whether rows become columns.
    transposes: bool,
    /// Whether columns and rows of the source are read from their ends.
    from_end: [bool; 2],
}

impl Turn {
    fn of(orientation: Orientation, source: Size<Image>) -> Self {
        let (transposes, from_end) = match orientation {
            Orientation::NoTransforms => (false, [false, false]),
            Orientation::FlipHorizontal => (false, [true, false]),
            Orientation::FlipVertical => (false, [false, true]),
            Orientation::Rotate180 => (false, [true, true]),
            Orientation::Rotate90 => (true, [false, true]),
            Orientation::Rotate270 => (true, [true, false]),
            Orientation::Rotate90FlipH => (true, [false, false]),
            Orientation::Rotate270FlipH => (true, [true, true]),
        };
        let size = if transposes { Size::new(source.height, source.width) } else { source };
        Self { size, transposes, from_end }
    }
}

/// Pixels of `N` values each, turned.
fn turned<const N: usize>(
    mut values: Vec<u8>,
    orientation: Orientation,
    source: Size<Image>,
) -> Result<Vec<u8>> {
    /// Side of the tiles in which rows become columns: reads and writes of one stay in the first cache.
    const TILE: usize = 32;
    let Turn { size, transposes, from_end: [columns_from_end, rows_from_end] } =
        Turn::of(orientation, source);
    let [width, height] = [source.width as usize, source.height as usize];
    if !transposes {
        let pixels = values.as_chunks_mut::<N>().0;
        match (columns_from_end, rows_from_end) {
            (true, true) => pixels.reverse(),
            (true, false) => pixels.chunks_exact_mut(width).for_each(<[_]>::reverse),
            _ => {
                let (top, bottom) = pixels.split_at_mut(height / 2 * width);
                let bottom = bottom.chunks_exact_mut(width).rev();
                top.chunks_exact_mut(width)
                    .zip(bottom)
                    .for_each(|(above, below)| above.swap_with_slice(below));
            }
        }
        return Ok(values);
    }
    let mut made = zeros::<u8>(values.len())?;
    let (from, to) = (values.as_chunks::<N>().0, made.as_chunks_mut::<N>().0);
    let [to_width, to_height] = [size.width as usize, size.height as usize];
    for top in (0..to_height).step_by(TILE) {
        for left in (0..to_width).step_by(TILE) {
            for y in top..(top + TILE).min(to_height) {
                // A row of the result is a column of the source.
                let column = if columns_from_end { width - 1 - y } else { y };
                for x in left..(left + TILE).min(to_width) {
                    let row = if rows_from_end { height - 1 - x } else { x };
                    to[y * to_width + x] = from[row * width + column];
                }
            }
        }
    }
    Ok(made)
}

impl fmt::Debug for RgbImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RgbImage({})", self.size)
    }
}

#[cfg(test)]
mod tests {
    use ::image::DynamicImage;

    use super::*;

    #[test]
    fn pictures_are_turned_as_the_library_of_images_turns_them() {
        for (width, height) in [(1, 1), (5, 3), (70, 41)] {
            let size = Size::new(width, height);
            let picture = RgbImage::from_fn(size, |x, y| [x as u8, y as u8, (x * y) as u8]);
            let alpha: Vec<u8> = (0..size.area()).map(|at| (at * 7) as u8).collect();
            for exif in 1..=8 {
                let orientation = Orientation::from_exif(exif).unwrap();
                let turned =
                    picture.clone().with_alpha(alpha.clone()).unwrap().oriented(orientation).unwrap();
                let theirs = |mut picture: DynamicImage| {
                    picture.apply_orientation(orientation);
                    (Size::new(picture.width(), picture.height()), picture.into_bytes())
                };
                let colours = ::image::RgbImage::from_raw(width, height, picture.pixels().to_vec()).unwrap();
                let of_alpha = ::image::GrayImage::from_raw(width, height, alpha.clone()).unwrap();
                let colours = theirs(DynamicImage::ImageRgb8(colours));
                assert_eq!((turned.size(), turned.pixels().to_vec()), colours, "{orientation:?} of {size}");
                let of_alpha = theirs(DynamicImage::ImageLuma8(of_alpha)).1;
                assert_eq!(turned.alpha(), Some(&of_alpha[..]), "{orientation:?} of {size}");
            }
        }
    }
}
