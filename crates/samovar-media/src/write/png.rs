//! PNG: masks, label maps, cut-outs, pictures.

use std::io::Write;
use std::path::Path;

use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ::image::{ExtendedColorType, ImageEncoder, ImageError};
use samovar_geometry::{Image, Size};

use super::atomic::{AtomicFile, write_atomically};
use crate::error::{MediaError, Result};
use crate::image::RgbImage;
use crate::mask::{BitMask, LabelMap};
use crate::upscale::AlphaMask;

/// A mask as 8-bit greyscale: 255 where set, 0 elsewhere.
pub fn write_mask_png(path: &Path, mask: &BitMask) -> Result<()> {
    // Long equal runs: the fast compressor without a filter is both quickest and smallest here.
    write_png(path, mask.size(), &mask.to_bytes(255), ExtendedColorType::L8, FilterType::NoFilter)
}

/// Many masks in one file: a label per pixel, 8-bit greyscale up to label 255, else 16-bit.
pub fn write_label_png(path: &Path, labels: &LabelMap) -> Result<()> {
    if labels.labels().iter().all(|&label| label <= 255) {
        let bytes: Vec<u8> = labels.labels().iter().map(|&label| label as u8).collect();
        return write_png(path, labels.size(), &bytes, ExtendedColorType::L8, FilterType::NoFilter);
    }
    let bytes: Vec<u8> = labels.labels().iter().flat_map(|label| label.to_ne_bytes()).collect();
    write_png(path, labels.size(), &bytes, ExtendedColorType::L16, FilterType::NoFilter)
}

/// A picture.
pub fn write_rgb_png(path: &Path, image: &RgbImage) -> Result<()> {
    write_png(path, image.size(), image.pixels(), ExtendedColorType::Rgb8, FilterType::Adaptive)
}

/// The picture with the mask as its alpha channel: RGBA bytes, interleaved. Colours stay as they are under
/// transparent pixels (alpha is not multiplied in), so the edge can be changed later.
pub fn cut_out(image: &RgbImage, alpha: &AlphaMask) -> Result<Vec<u8>> {
    if image.size() != alpha.size() {
        return Err(MediaError::mismatch(format!(
            "the image is {}, its mask {}",
            image.size(),
            alpha.size()
        )));
    }
    let mut rgba = Vec::with_capacity(alpha.values().len() * 4);
    for (pixel, &alpha) in image.pixels().chunks_exact(3).zip(alpha.values()) {
        rgba.extend_from_slice(&[pixel[0], pixel[1], pixel[2], alpha]);
    }
    Ok(rgba)
}

/// [`cut_out`] as a file. A hard edge comes from `&AlphaMask::from(&mask)`, a soft one from
/// [`PreparedLogits::alpha`](crate::upscale::PreparedLogits::alpha).
pub fn write_cut_out_png(path: &Path, image: &RgbImage, alpha: &AlphaMask) -> Result<()> {
    write_png(path, image.size(), &cut_out(image, alpha)?, ExtendedColorType::Rgba8, FilterType::Adaptive)
}

fn write_png(
    path: &Path,
    size: Size<Image>,
    bytes: &[u8],
    colour: ExtendedColorType,
    filter: FilterType,
) -> Result<()> {
    write_atomically(path, |file: &mut AtomicFile| {
        let encoder = PngEncoder::new_with_quality(file.by_ref(), CompressionType::Fast, filter);
        encoder.write_image(bytes, size.width, size.height, colour).map_err(|error| match error {
            ImageError::IoError(error) => MediaError::write(error),
            other => MediaError::mismatch(format!("this cannot be a PNG of {size}: {other}")),
        })
    })
}

#[cfg(test)]
mod tests;
