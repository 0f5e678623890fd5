//! PNG: masks, label maps, cut-outs, pictures; as bytes and as files.

use std::path::Path;

use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ::image::{ExtendedColorType, ImageEncoder};
use samovar_files::write_bytes;
use samovar_geometry::{Image, Size};

use crate::error::{MediaError, Result};
use crate::image::RgbImage;
use crate::mask::{BitMask, LabelMap};
use crate::upscale::AlphaMask;

/// A mask as 8-bit greyscale: 255 where set, 0 elsewhere.
pub fn encode_mask_png(mask: &BitMask) -> Result<Vec<u8>> {
    // A row is nearly the one above it, so their difference is nearly all zeros.
    encode(mask.size(), &mask.to_bytes(255), ExtendedColorType::L8, FilterType::Up)
}

/// [`encode_mask_png`] as a file.
pub fn write_mask_png(path: &Path, mask: &BitMask) -> Result<()> {
    Ok(write_bytes(path, &encode_mask_png(mask)?)?)
}

/// Many masks in one file: a label per pixel, 8-bit greyscale up to label 255, else 16-bit.
pub fn encode_label_png(labels: &LabelMap) -> Result<Vec<u8>> {
    if labels.labels().iter().all(|&label| label <= 255) {
        let bytes: Vec<u8> = labels.labels().iter().map(|&label| label as u8).collect();
        return encode(labels.size(), &bytes, ExtendedColorType::L8, FilterType::Up);
    }
    let bytes: Vec<u8> = labels.labels().iter().flat_map(|label| label.to_ne_bytes()).collect();
    encode(labels.size(), &bytes, ExtendedColorType::L16, FilterType::Up)
}

/// [`encode_label_png`] as a file.
pub fn write_label_png(path: &Path, labels: &LabelMap) -> Result<()> {
    Ok(write_bytes(path, &encode_label_png(labels)?)?)
}

/// A picture, with the colour profile of its file. Its alpha is not in it.
pub fn encode_rgb_png(image: &RgbImage) -> Result<Vec<u8>> {
    encode_picture(image, image.pixels(), ExtendedColorType::Rgb8)
}

/// [`encode_rgb_png`] as a file.
pub fn write_rgb_png(path: &Path, image: &RgbImage) -> Result<()> {
    Ok(write_bytes(path, &encode_rgb_png(image)?)?)
}

/// The picture with the mask as its alpha channel: RGBA bytes, interleaved. Where the picture has an alpha of its own, the
/// two are multiplied. Colours are not multiplied by alpha; wholly transparent pixels are black, so that nothing of what was
/// cut away is left in the file.
pub fn cut_out(image: &RgbImage, alpha: &AlphaMask) -> Result<Vec<u8>> {
    if image.size() != alpha.size() {
        return Err(MediaError::mismatch(format!(
            "the image is {}, its mask {}",
            image.size(),
            alpha.size()
        )));
    }
    let mut rgba = Vec::with_capacity(alpha.values().len() * 4);
    for (index, (pixel, &alpha)) in image.pixels().chunks_exact(3).zip(alpha.values()).enumerate() {
        let own = image.alpha().map_or(255, |own| own[index]);
        // Rounded to the nearest.
        let alpha = ((u32::from(alpha) * u32::from(own) + 127) / 255) as u8;
        match alpha {
            0 => rgba.extend_from_slice(&[0; 4]),
            _ => rgba.extend_from_slice(&[pixel[0], pixel[1], pixel[2], alpha]),
        }
    }
    Ok(rgba)
}

/// [`cut_out`] as PNG, with the colour profile of the picture's file. A hard edge comes from `&AlphaMask::from(&mask)`, a soft one from
/// [`PreparedLogits::alpha`](crate::upscale::PreparedLogits::alpha).
pub fn encode_cut_out_png(image: &RgbImage, alpha: &AlphaMask) -> Result<Vec<u8>> {
    encode_picture(image, &cut_out(image, alpha)?, ExtendedColorType::Rgba8)
}

/// [`encode_cut_out_png`] as a file.
pub fn write_cut_out_png(path: &Path, image: &RgbImage, alpha: &AlphaMask) -> Result<()> {
    Ok(write_bytes(path, &encode_cut_out_png(image, alpha)?)?)
}

/// Values of this picture, in its colour profile.
fn encode_picture(image: &RgbImage, bytes: &[u8], colour: ExtendedColorType) -> Result<Vec<u8>> {
    encode_in(image.size(), bytes, colour, FilterType::Adaptive, image.icc_profile())
}

fn encode(size: Size<Image>, bytes: &[u8], colour: ExtendedColorType, filter: FilterType) -> Result<Vec<u8>> {
    encode_in(size, bytes, colour, filter, None)
}

fn encode_in(
    size: Size<Image>,
    bytes: &[u8],
    colour: ExtendedColorType,
    filter: FilterType,
    icc_profile: Option<&[u8]>,
) -> Result<Vec<u8>> {
    let mut png = Vec::new();
    let mut encoder = PngEncoder::new_with_quality(&mut png, CompressionType::Fast, filter);
    if let Some(profile) = icc_profile {
        encoder.set_icc_profile(profile.to_vec()).expect("PNG has a place for profiles");
    }
    encoder
        .write_image(bytes, size.width, size.height, colour)
        .map_err(|error| MediaError::mismatch(format!("this cannot be a PNG of {size}: {error}")))?;
    Ok(png)
}

#[cfg(test)]
mod tests;
