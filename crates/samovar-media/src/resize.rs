//! Resizing and normalising, one pass from the user's pixels to the model's canvas.
//!
//! [`resize_bilinear`] gives, to the bit, what Pillow's `Image.resize(size, BILINEAR)` gives, which is what the
//! original SAM preprocessing calls: an antialiasing triangle filter in 22-bit fixed point, across first, then down,
//! each rounded to 8 bits; the other way round where much height goes, as Pillow has it since 13.0 (one level of 255 apart
//! from earlier versions in a sixth of the values of a tall photograph). [`resize_normalise`] does the same and writes `(value / 255 - mean) / std` straight into
//! the model's padded canvas.
//!
//! The Hugging Face processors resize with torchvision (`antialias=True`, uint8) instead, whose weights have fewer
//! bits. Over all sizes in `dev/goldens/media`, noise included, it differs from Pillow by at most 1 of 255.

mod across;
mod coefficients;
mod passes;
mod plane;

use samovar_geometry::{Image, Input, Size};

use crate::error::{MediaError, MediaErrorKind, Result};
use crate::image::RgbImage;
use crate::room::zeros;
use crate::threads::spawn_or_run;
use coefficients::Coefficients;
use passes::Resampler;
pub use plane::resize_plane;

/// Per-channel mean and standard deviation of a model's training pixels, for values scaled to 0..=1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// Subtracted first.
    pub mean: [f32; 3],
    /// Divided by then; no channel may be zero.
    pub std: [f32; 3],
}

impl Normalisation {
    /// ImageNet's figures: SAM, SAM 2 and most others.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    /// To -1..=1: SAM 3.
    pub const HALF: Self = Self { mean: [0.5; 3], std: [0.5; 3] };
    /// To 0..=1 and no more: D-FINE.
    pub const UNIT: Self = Self { mean: [0.0; 3], std: [1.0; 3] };

    /// The normalised value of each 8-bit value, per channel; computed in f64 and rounded once.
    fn table(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|channel| {
            let (mean, std) = (f64::from(self.mean[channel]), f64::from(self.std[channel]));
            std::array::from_fn(|value| ((value as f64 / 255.0 - mean) / std) as f32)
        })
    }
}

/// The image at another size, as Pillow's `resize(size, BILINEAR)`. `threads` is how many to use at most.
pub fn resize_bilinear(image: &RgbImage, size: Size<Image>, threads: usize) -> Result<RgbImage> {
    let mut pixels = zeros(usize::try_from(checked_bytes(size)?).map_err(|_| no_room(size))?)?;
    let resampler = resampler(image, size.width, size.height)?;
    let stride = size.width as usize * 3;
    in_bands(&mut pixels, stride, threads, |first_row, band| {
        let mut rows = resampler.rows(image, first_row);
        for row in band.chunks_exact_mut(stride) {
            rows.next_into(row);
        }
    });
    RgbImage::from_raw(size, pixels)
}

/// Resizes to `resized`, normalises, and writes the result into the top left of `canvas_pixels`, a whole `canvas` of
/// height x width x 3 values; the rest of the canvas becomes 0, which is padding *after* normalising, as upstream's.
///
/// `resized` and `canvas` come from [`ResizeRule`](samovar_geometry::ResizeRule). `threads` is how many to use at
/// most.
pub fn resize_normalise(
    image: &RgbImage,
    resized: Size<Input>,
    canvas: Size<Input>,
    normalisation: &Normalisation,
    threads: usize,
    canvas_pixels: &mut [f32],
) -> Result<()> {
    if resized.width > canvas.width || resized.height > canvas.height {
        return Err(MediaError::mismatch(format!(
            "an image of {resized} does not fit the canvas of {canvas}"
        )));
    }
    if u128::from(canvas.area()) * 3 != canvas_pixels.len() as u128 {
        return Err(MediaError::mismatch(format!(
            "a canvas of {canvas} takes {} values, the buffer has {}",
            u128::from(canvas.area()) * 3,
            canvas_pixels.len()
        )));
    }
    let resampler = resampler(image, resized.width, resized.height)?;
    let table = normalisation.table();
    let (stride, resized_stride) = (canvas.width as usize * 3, resized.width as usize * 3);
    let (covered, padding) = canvas_pixels.split_at_mut(stride * resized.height as usize);
    padding.fill(0.0);
    in_bands(covered, stride, threads, |first_row, band| {
        let mut rows = resampler.rows(image, first_row);
        let mut row = vec![0; resized_stride];
        for canvas_row in band.chunks_exact_mut(stride) {
            rows.next_into(&mut row);
            let (covered, padding) = canvas_row.split_at_mut(resized_stride);
            padding.fill(0.0);
            for (to, from) in covered.chunks_exact_mut(3).zip(row.chunks_exact(3)) {
                for channel in 0..3 {
                    to[channel] = table[channel][usize::from(from[channel])];
                }
            }
        }
    });
    Ok(())
}

fn resampler(image: &RgbImage, width: u32, height: u32) -> Result<Resampler> {
    if width == 0 || height == 0 {
        let what = format!("an image cannot be resized to {width}x{height}");
        return Err(MediaError::new(MediaErrorKind::Empty, what));
    }
    let along = |from: u32, to: u32| (from != to).then(|| Coefficients::triangle(from, to));
    let is_down_first = is_down_first(image.size(), Size::new(width, height));
    Ok(Resampler::new(along(image.width(), width), along(image.height(), height), width, is_down_first))
}

/// Whether Pillow resizes columns before rows: found by trying thousands of sizes with 13.0.
fn is_down_first(from: Size<Image>, to: Size<Image>) -> bool {
    let lost = |from: u32, to: u32| i64::from(from) - i64::from(to);
    let (columns, rows) = (lost(from.width, to.width), lost(from.height, to.height));
    rows > 0 && rows > 2 * columns
}

fn checked_bytes(size: Size<Image>) -> Result<u64> {
    size.area().checked_mul(3).filter(|&bytes| bytes <= isize::MAX as u64).ok_or_else(|| no_room(size))
}

fn no_room(size: Size<Image>) -> MediaError {
    MediaError::too_large(format!("an image of {size} does not fit into memory"))
}

/// Cuts `rows` (each `stride` long) into one band of whole rows per thread and calls `f(first row, band)` on each.
fn in_bands<T: Send>(rows: &mut [T], stride: usize, threads: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let row_count = rows.len() / stride;
    let rows_per_band = row_count.div_ceil(threads.clamp(1, row_count.max(1)));
    if rows_per_band == row_count {
        return f(0, rows);
    }
    std::thread::scope(|scope| {
        for (index, band) in rows.chunks_mut(rows_per_band * stride).enumerate() {
            let f = &f;
            spawn_or_run(scope, move || f(index * rows_per_band, band));
        }
    });
}

#[cfg(test)]
mod tests;
