//! Masks shown on their picture: a tint inside, a line along the edge.

use crate::error::{MediaError, Result};
use crate::image::RgbImage;
use crate::mask::BitMask;

/// How an overlay looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverlayStyle {
    /// Share of the mask's colour inside it, 0 (none) to 1 (nothing else).
    pub tint: f32,
    /// Width of the line along the inner edge, in pixels; 0 for none.
    pub line_width: u32,
}

impl Default for OverlayStyle {
    /// The picture shows through; the line is two pixels wide, right for pictures of about a thousand.
    fn default() -> Self {
        Self { tint: 0.45, line_width: 2 }
    }
}

/// A colour for mask number `index`: hues a golden angle apart, so neighbours in number never look alike.
pub fn palette_colour(index: usize) -> [u8; 3] {
    let hue = (0.58 + index as f64 * 0.618_033_988_749_895).fract() * 6.0;
    // Every third and fifth mask a little darker and paler: more colours than hues alone would give.
    let value = if index % 3 == 2 { 0.8 } else { 1.0 };
    let saturation = if index % 5 == 4 { 0.6 } else { 0.85 };
    let channel = |offset: f64| {
        let distance = (offset + hue) % 6.0;
        let level = value - value * saturation * distance.min(4.0 - distance).clamp(0.0, 1.0);
        (level * 255.0 + 0.5) as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

/// The picture with the masks drawn over it in order, mask `i` in [`palette_colour`]`(i)`.
pub fn draw_overlay(image: &RgbImage, masks: &[&BitMask], style: &OverlayStyle) -> Result<RgbImage> {
    let mut overlay = Overlay::new(image, *style)?;
    masks.iter().try_for_each(|mask| overlay.add(mask))?;
    Ok(overlay.finish())
}

/// A picture that masks are drawn over one by one, so that they need not be in memory together.
#[derive(Debug, Clone)]
pub struct Overlay {
    picture: RgbImage,
    style: OverlayStyle,
    masks: usize,
}

impl Overlay {
    /// The picture without masks.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
    pub fn new(image: &RgbImage, style: OverlayStyle) -> Result<Self> {
        Ok(Self { picture: image.try_clone()?, style, masks: 0 })
    }

    /// Draws the next mask, the `i`th in [`palette_colour`]`(i)`; refuses one of another size.
    pub fn add(&mut self, mask: &BitMask) -> Result<()> {
        let size = self.picture.size();
        if mask.size() != size {
            let index = self.masks;
            return Err(MediaError::mismatch(format!("the image is {size}, mask {index} {}", mask.size())));
        }
        let share = (self.style.tint.clamp(0.0, 1.0) * 256.0) as u32;
        let colour = palette_colour(self.masks);
        let line = edge(mask, self.style.line_width)?;
        for y in 0..size.height {
            let row = self.picture.row_mut(y);
            for (x0, x1) in mask.runs(y) {
                for pixel in row[x0 as usize * 3..x1 as usize * 3].chunks_exact_mut(3) {
                    for channel in 0..3 {
                        let mixed =
                            u32::from(pixel[channel]) * (256 - share) + u32::from(colour[channel]) * share;
                        pixel[channel] = ((mixed + 128) >> 8) as u8;
                    }
                }
            }
            for (x0, x1) in line.runs(y) {
                for pixel in row[x0 as usize * 3..x1 as usize * 3].chunks_exact_mut(3) {
                    pixel.copy_from_slice(&colour);
                }
            }
        }
        self.masks += 1;
        Ok(())
    }

    /// The picture with all masks.
    pub fn finish(self) -> RgbImage {
        self.picture
    }
}

/// The pixels of the mask within `width` of a pixel outside it; the picture's border counts as inside.
fn edge(mask: &BitMask, width: u32) -> Result<BitMask> {
    let mut core = mask.try_clone()?;
    for _ in 0..width.min(64) {
        core = eroded(&core)?;
    }
    let mut edge = mask.try_clone()?;
    edge.subtract(&core)?;
    Ok(edge)
}

/// The pixels all of whose four neighbours are set.
fn eroded(mask: &BitMask) -> Result<BitMask> {
    let mut eroded = mask.try_clone()?;
    let height = mask.height();
    let last = mask.words_per_row().saturating_sub(1);
    let beyond_width = match mask.width() % 64 {
        0 => 0,
        used => !0u64 << used,
    };
    for y in 0..height {
        let (above, row, below) =
            (mask.row(y.saturating_sub(1)), mask.row(y), mask.row((y + 1).min(height - 1)));
        for index in 0..row.len() {
            // Neighbours beyond the picture count as set.
            let from_left = if index == 0 { 1 } else { row[index - 1] >> 63 };
            let own = if index == last { row[index] | beyond_width } else { row[index] };
            let from_right = if index == last { 1 << 63 } else { row[index + 1] << 63 };
            let sides = (row[index] << 1 | from_left) & (own >> 1 | from_right);
            eroded.row_mut(y)[index] &= sides & above[index] & below[index];
        }
    }
    Ok(eroded)
}

#[cfg(test)]
mod tests;
