//! PNG: masks, label maps, cut-outs, pictures; as bytes and as files. Written row by row: neither the picture in the form
//! that PNG wants nor the compressed one is ever whole in memory, unless bytes are asked for.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use ::png::{BitDepth, ColorType, Compression, Encoder, EncodingError, Filter, Info};
use samovar_files::{AtomicFile, write_atomically};
use samovar_geometry::{Image, Size};

use crate::error::{MediaError, MediaErrorKind, Result};
use crate::image::RgbImage;
use crate::mask::{BitMask, LabelMap};
use crate::room::{Growing, zeros};
use crate::upscale::AlphaMask;

/// A PNG that can be written: what it shows, not yet encoded.
#[derive(Debug, Clone, Copy)]
pub enum Png<'a> {
    /// 8-bit greyscale: 255 where the mask is set, 0 elsewhere.
    Mask(&'a BitMask),
    /// Many masks in one file: a label per pixel, 8-bit greyscale up to label 255, else 16-bit.
    Labels(&'a LabelMap),
    /// A picture, with the colour profile of its file. Its alpha is not in it.
    Rgb(&'a RgbImage),
    /// The picture with the mask as its alpha channel, and with the colour profile of its file. Where the picture has an alpha
    /// of its own, the two are multiplied. Colours are not multiplied by alpha; wholly transparent pixels are black, so that
    /// nothing of what was cut away is left in the file. A hard edge comes from `&AlphaMask::from(&mask)`, a soft one from
    /// [`PreparedLogits::alpha`](crate::upscale::PreparedLogits::alpha).
    CutOut(&'a RgbImage, &'a AlphaMask),
}

impl Png<'_> {
    /// Writes the file.
    ///
    /// # Errors
    /// [`MediaErrorKind::Write`] where `out` fails, [`MediaErrorKind::Mismatch`] for a picture and an alpha of two sizes.
    pub fn write_to(&self, out: impl Write) -> Result<()> {
        match *self {
            // A row is nearly the one above it, so their difference is nearly all zeros.
            Self::Mask(mask) => {
                let form = Form::new(mask.size(), ColorType::Grayscale, Filter::Up);
                form.write_rows(out, |y, row| {
                    row.fill(0);
                    mask.runs(y).for_each(|(x0, x1)| row[x0 as usize..x1 as usize].fill(255));
                })
            }
            Self::Labels(labels) => {
                let width = labels.size().width as usize;
                let row_of = |y: u32| &labels.labels()[y as usize * width..][..width];
                let form = Form::new(labels.size(), ColorType::Grayscale, Filter::Up);
                if labels.labels().iter().all(|&label| label <= 255) {
                    return form.write_rows(out, |y, row| {
                        row.iter_mut().zip(row_of(y)).for_each(|(byte, &label)| *byte = label as u8);
                    });
                }
                Form { depth: BitDepth::Sixteen, ..form }.write_rows(out, |y, row| {
                    let pairs = row.as_chunks_mut::<2>().0.iter_mut().zip(row_of(y));
                    pairs.for_each(|(pair, label)| *pair = label.to_be_bytes());
                })
            }
            Self::Rgb(image) => {
                let form = Form::new(image.size(), ColorType::Rgb, Filter::Adaptive).of(image);
                form.write_rows(out, |y, row| row.copy_from_slice(image.row(y)))
            }
            Self::CutOut(image, alpha) => {
                let (size, of_mask) = (image.size(), alpha.size());
                if size != of_mask {
                    let what = format!("the image is {size}, its mask {of_mask}");
                    return Err(MediaError::mismatch(what));
                }
                let form = Form::new(size, ColorType::Rgba, Filter::Adaptive).of(image);
                form.write_rows(out, |y, row| cut_out_row(image, alpha, y, row))
            }
        }
    }

    /// The file in memory.
    ///
    /// # Errors
    /// As [`Png::write_to`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = Growing(Vec::new());
        self.write_to(&mut bytes)?;
        Ok(bytes.0)
    }

    /// The file at this path, whole or not at all.
    ///
    /// # Errors
    /// As [`Png::write_to`].
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, |file: &mut AtomicFile| self.write_to(file).map_err(|error| error.at(path)))
    }
}

/// See [`Png::Mask`].
pub fn encode_mask_png(mask: &BitMask) -> Result<Vec<u8>> {
    Png::Mask(mask).encode()
}

/// [`encode_mask_png`] as a file.
pub fn write_mask_png(path: &Path, mask: &BitMask) -> Result<()> {
    Png::Mask(mask).write(path)
}

/// See [`Png::Labels`].
pub fn encode_label_png(labels: &LabelMap) -> Result<Vec<u8>> {
    Png::Labels(labels).encode()
}

/// [`encode_label_png`] as a file.
pub fn write_label_png(path: &Path, labels: &LabelMap) -> Result<()> {
    Png::Labels(labels).write(path)
}

/// See [`Png::Rgb`].
pub fn encode_rgb_png(image: &RgbImage) -> Result<Vec<u8>> {
    Png::Rgb(image).encode()
}

/// [`encode_rgb_png`] as a file.
pub fn write_rgb_png(path: &Path, image: &RgbImage) -> Result<()> {
    Png::Rgb(image).write(path)
}

/// See [`Png::CutOut`].
pub fn encode_cut_out_png(image: &RgbImage, alpha: &AlphaMask) -> Result<Vec<u8>> {
    Png::CutOut(image, alpha).encode()
}

/// [`encode_cut_out_png`] as a file.
pub fn write_cut_out_png(path: &Path, image: &RgbImage, alpha: &AlphaMask) -> Result<()> {
    Png::CutOut(image, alpha).write(path)
}

/// The picture with the mask as its alpha channel: RGBA bytes, interleaved; see [`Png::CutOut`].
pub fn cut_out(image: &RgbImage, alpha: &AlphaMask) -> Result<Vec<u8>> {
    if image.size() != alpha.size() {
        let what = format!("the image is {}, its mask {}", image.size(), alpha.size());
        return Err(MediaError::mismatch(what));
    }
    let mut rgba = zeros(alpha.values().len().saturating_mul(4))?;
    let stride = image.width() as usize * 4;
    (0u32..).zip(rgba.chunks_exact_mut(stride)).for_each(|(y, row)| cut_out_row(image, alpha, y, row));
    Ok(rgba)
}

/// A row of the cut-out, RGBA.
fn cut_out_row(image: &RgbImage, alpha: &AlphaMask, y: u32, row: &mut [u8]) {
    let width = image.width() as usize;
    let of_row = y as usize * width..(y as usize + 1) * width;
    let own = image.alpha().map(|own| &own[of_row.clone()]);
    let (pixels, alpha) = (image.row(y).as_chunks::<3>().0, &alpha.values()[of_row]);
    for (x, rgba) in row.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let own = own.map_or(255, |own| u32::from(own[x]));
        // Rounded to the nearest.
        let alpha = ((u32::from(alpha[x]) * own + 127) / 255) as u8;
        let [red, green, blue] = pixels[x];
        *rgba = if alpha == 0 { [0; 4] } else { [red, green, blue, alpha] };
    }
}

/// How samples lie in the file.
struct Form<'a> {
    size: Size<Image>,
    colour: ColorType,
    depth: BitDepth,
    filter: Filter,
    icc_profile: Option<&'a [u8]>,
}

/// Bytes of compressed data that are held.
const CHUNK_BYTES: usize = 256 << 10;

impl<'a> Form<'a> {
    fn new(size: Size<Image>, colour: ColorType, filter: Filter) -> Self {
        Self { size, colour, depth: BitDepth::Eight, filter, icc_profile: None }
    }

    /// Values of this picture, in its colour profile.
    fn of(self, image: &'a RgbImage) -> Self {
        Self { icc_profile: image.icc_profile(), ..self }
    }

    /// Writes a file of which `fill` fills row after row.
    fn write_rows(&self, out: impl Write, mut fill: impl FnMut(u32, &mut [u8])) -> Result<()> {
        let failed = |error: EncodingError| match error {
            EncodingError::IoError(io) if io.kind() == std::io::ErrorKind::OutOfMemory => {
                let what = format!("the system has no memory for a PNG of {}", self.size);
                MediaError::new(MediaErrorKind::OutOfMemory, what)
            }
            EncodingError::IoError(io) => {
                MediaError::new(MediaErrorKind::Write, format!("writing failed: {io}")).caused_by(io)
            }
            other => MediaError::mismatch(format!("this cannot be a PNG of {}: {other}", self.size)),
        };
        let mut info = Info::with_size(self.size.width, self.size.height);
        info.icc_profile = self.icc_profile.map(Cow::Borrowed);
        let mut encoder = Encoder::with_info(out, info).map_err(failed)?;
        encoder.set_color(self.colour);
        encoder.set_depth(self.depth);
        encoder.set_compression(Compression::Fast);
        encoder.set_filter(self.filter);
        let mut row = vec![0; self.size.width as usize * self.colour.samples() * self.depth as usize / 8];
        let mut writer = encoder.write_header().map_err(failed)?;
        let mut rows = writer.stream_writer_with_size(CHUNK_BYTES).map_err(failed)?;
        for y in 0..self.size.height {
            fill(y, &mut row);
            rows.write_all(&row).map_err(|error| failed(error.into()))?;
        }
        rows.finish().map_err(failed)?;
        writer.finish().map_err(failed)
    }
}

#[cfg(test)]
mod tests;
