//! Bytes to pixels, within limits that hold before anything is decoded.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::image::codecs::jpeg::JpegDecoder;
use ::image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};
use samovar_geometry::{Image, Size};

use super::jpeg;
use super::rgb::{Orientation, RgbImage};
use super::webp;
use crate::error::{MediaError, MediaErrorKind, Result};
use crate::mask::BitMask;

/// The largest image that will be decoded. Both limits hold at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most pixels (width times height).
    pub max_pixels: u64,
    /// Most bytes: of the file, and of what decoding it allocates.
    pub max_bytes: u64,
}

impl Default for DecodeLimits {
    /// 256 megapixels and 2 GiB: beyond any camera, below what hurts.
    fn default() -> Self {
        Self { max_pixels: 256 << 20, max_bytes: 2 << 30 }
    }
}

/// File formats that can be read. Of an animation the first picture is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names are the formats' own")]
pub enum ImageFormat {
    Png,
    Jpeg,
    WebP,
    Bmp,
    Tiff,
    Gif,
    Pnm,
}

impl ImageFormat {
    /// The usual name, as in "JPEG".
    pub const fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::Gif => "GIF",
            Self::Pnm => "PNM",
        }
    }

    /// File name extensions in lower case, for folder listings. Reading goes by content, never by name.
    pub const EXTENSIONS: &'static [&'static str] =
        &["png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "gif", "pbm", "pgm", "ppm", "pnm", "pam"];

    fn of_library(format: ::image::ImageFormat) -> Option<Self> {
        use ::image::ImageFormat as Library;
        Some(match format {
            Library::Png => Self::Png,
            Library::Jpeg => Self::Jpeg,
            Library::WebP => Self::WebP,
            Library::Bmp => Self::Bmp,
            Library::Tiff => Self::Tiff,
            Library::Gif => Self::Gif,
            Library::Pnm => Self::Pnm,
            _ => return None,
        })
    }
}

/// What a file says about its picture before any pixel is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageMetadata {
    /// Size as it will be seen, after [`ImageMetadata::orientation`] has been applied.
    pub size: Size<Image>,
    /// The file format, by content; `None` for pixels that never were a file.
    pub format: Option<ImageFormat>,
    /// What is applied on decoding. The stored picture has width and height swapped if this turns by 90 degrees.
    pub orientation: Orientation,
}

/// Metadata of an image file, pixels untouched.
pub fn read_metadata(path: &Path, limits: &DecodeLimits) -> Result<ImageMetadata> {
    metadata_of_file(path, limits).map_err(|error| error.at(path))
}

/// Decodes an image file to upright RGB; see [`decode_bytes`].
pub fn decode_file(path: &Path, limits: &DecodeLimits) -> Result<RgbImage> {
    let decode = || {
        let mut bytes = Vec::new();
        let file = open(path, limits)?;
        // The file may grow while it is read; the limit holds anyway.
        file.take(limits.max_bytes).read_to_end(&mut bytes).map_err(MediaError::read)?;
        decode_bytes(&bytes, limits)
    };
    decode().map_err(|error| error.at(path))
}

/// Reads a mask drawn as a picture: what is white (over 127 in any channel) is set. If the picture has an alpha channel
/// that is not opaque throughout, as a cut-out has, it is what is opaque (over 127) instead.
///
/// # Errors
/// As [`decode_file`], and for a picture that has other values than 0 but none over 127.
pub fn decode_mask_file(path: &Path, limits: &DecodeLimits) -> Result<BitMask> {
    let decode = || {
        let mut bytes = Vec::new();
        open(path, limits)?.take(limits.max_bytes).read_to_end(&mut bytes).map_err(MediaError::read)?;
        let (image, orientation) = decode_dynamic(&bytes, limits)?;
        let size = Size::new(image.width(), image.height());
        let alpha: Option<Vec<u8>> = image
            .color()
            .has_alpha()
            .then(|| image.to_rgba8().pixels().map(|pixel| pixel[3]).collect())
            .filter(|alpha: &Vec<u8>| alpha.iter().any(|&value| value < 255));
        let picture = match alpha {
            Some(alpha) => RgbImage::from_raw(size, alpha.iter().flat_map(|&value| [value; 3]).collect())?,
            None => rgb_from(image)?,
        };
        let picture = picture.oriented(orientation);
        let values: Vec<u8> =
            picture.pixels().chunks_exact(3).map(|pixel| pixel[0].max(pixel[1]).max(pixel[2])).collect();
        let brightest = values.iter().copied().max().unwrap_or(0);
        if (1..=127).contains(&brightest) {
            let what = format!("nothing in this mask is white: its largest value is {brightest}");
            return Err(MediaError::mismatch(what).advise("draw the object white (over 127) on black"));
        }
        BitMask::from_values(picture.size(), &values, |value| value > 127)
    };
    decode().map_err(|error| error.at(path))
}

/// Decodes an image to upright RGB.
///
/// - 16 bits per channel become 8 by dropping the low byte, as PIL and OpenCV do when they read RGB; floating point
///   values are clamped to 0..=1 and scaled.
/// - Grey becomes R = G = B. Alpha is dropped and the colour under it kept, as PIL's `convert("RGB")` does.
/// - CMYK and YCCK JPEG are taken as Adobe's inverted kind, as PIL takes them.
/// - The EXIF orientation is applied. Colour profiles are not.
///
/// JPEG values may differ from libjpeg's by a few units where chroma is subsampled; the standard leaves that open.
pub fn decode_bytes(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage> {
    let (image, orientation) = decode_dynamic(bytes, limits)?;
    Ok(rgb_from(image)?.oriented(orientation))
}

/// Decodes to whatever the file holds, for label maps, which must not lose bits. Limits hold; not yet upright.
pub(crate) fn decode_dynamic(bytes: &[u8], limits: &DecodeLimits) -> Result<(DynamicImage, Orientation)> {
    if bytes.len() as u64 > limits.max_bytes {
        return Err(file_too_large(bytes.len() as u64, limits));
    }
    let format = sniff(bytes)?;
    if format == ImageFormat::Jpeg && !jpeg::is_complete(bytes) {
        return Err(MediaError::damaged("the JPEG is cut short: its end marker is missing"));
    }
    guarded(|| {
        let mut decoder = reader(Cursor::new(bytes))?.into_decoder().map_err(library_error)?;
        let size = checked_size(&decoder, limits)?;
        if format == ImageFormat::WebP && !webp::frames_fit(bytes, size) {
            return Err(MediaError::damaged("a frame is larger than the picture it is in"));
        }
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut library_limits = Limits::no_limits();
        library_limits.max_alloc = Some(limits.max_bytes);
        decoder.set_limits(library_limits).map_err(library_error)?;
        let image = DynamicImage::from_decoder(decoder).map_err(library_error)?;
        Ok((image, orientation))
    })
}

/// The format, by the first bytes.
fn sniff(bytes: &[u8]) -> Result<ImageFormat> {
    let guessed = ::image::guess_format(bytes).ok().and_then(ImageFormat::of_library);
    guessed.ok_or_else(|| match bytes.is_empty() {
        true => MediaError::damaged("the file is empty"),
        false => {
            MediaError::new(MediaErrorKind::Unsupported, "this is no image format that can be read here")
        }
    })
}

/// Metadata of an image in memory, pixels untouched.
pub(super) fn metadata_of_bytes(bytes: &[u8], limits: &DecodeLimits) -> Result<ImageMetadata> {
    let format = sniff(bytes)?;
    guarded(|| {
        let decoder = reader(Cursor::new(bytes))?.into_decoder().map_err(library_error)?;
        metadata_of(decoder, format, limits)
    })
}

fn metadata_of_file(path: &Path, limits: &DecodeLimits) -> Result<ImageMetadata> {
    /// Enough for the headers of nearly every JPEG, thumbnail and colour profile included.
    const JPEG_HEADER_BYTES: u64 = 256 << 10;
    let mut file = BufReader::new(open(path, limits)?);
    let format = sniff(file.fill_buf().map_err(MediaError::read)?)?;
    if format == ImageFormat::Jpeg {
        // The JPEG decoder reads its whole input at once; the start of the file is nearly always enough for it.
        let mut start = Vec::new();
        file.by_ref().take(JPEG_HEADER_BYTES).read_to_end(&mut start).map_err(MediaError::read)?;
        if let Ok(metadata) = guarded(|| {
            metadata_of(JpegDecoder::new(Cursor::new(&start)).map_err(library_error)?, format, limits)
        }) {
            return Ok(metadata);
        }
        file.rewind().map_err(MediaError::read)?;
    }
    guarded(|| metadata_of(reader(file)?.into_decoder().map_err(library_error)?, format, limits))
}

fn metadata_of(
    mut decoder: impl ImageDecoder,
    format: ImageFormat,
    limits: &DecodeLimits,
) -> Result<ImageMetadata> {
    let stored = checked_size(&decoder, limits)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let turned = matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    let size = if turned { Size::new(stored.height, stored.width) } else { stored };
    Ok(ImageMetadata { size, format: Some(format), orientation })
}

fn open(path: &Path, limits: &DecodeLimits) -> Result<File> {
    let file = File::open(path).map_err(MediaError::read)?;
    let metadata = file.metadata().map_err(MediaError::read)?;
    if metadata.is_dir() {
        let what = "this is a folder, not an image";
        return Err(MediaError::new(MediaErrorKind::Unsupported, what).advise("name a file"));
    }
    if metadata.len() > limits.max_bytes {
        return Err(file_too_large(metadata.len(), limits));
    }
    Ok(file)
}

fn file_too_large(bytes: u64, limits: &DecodeLimits) -> MediaError {
    MediaError::too_large(format!("the file has {bytes} bytes, the limit is {}", limits.max_bytes))
}

fn reader<R: BufRead + Seek>(source: R) -> Result<ImageReader<R>> {
    let mut reader = ImageReader::new(source).with_guessed_format().map_err(MediaError::read)?;
    reader.no_limits(); // ours are checked against the header first, and set on the decoder itself
    Ok(reader)
}

/// The stored size, if it and the bytes it takes to decode are within the limits.
fn checked_size(decoder: &impl ImageDecoder, limits: &DecodeLimits) -> Result<Size<Image>> {
    let (width, height) = decoder.dimensions();
    let size = Size::<Image>::new(width, height);
    if size.is_empty() {
        return Err(MediaError::new(MediaErrorKind::Empty, format!("the image is {size} pixels")));
    }
    if size.area() > limits.max_pixels {
        return Err(MediaError::too_large(format!(
            "the image is {size}, {} pixels, the limit is {}",
            size.area(),
            limits.max_pixels
        )));
    }
    // What the file holds, and the RGB made from it.
    let bytes = decoder.total_bytes().saturating_add(size.area().saturating_mul(3));
    if bytes > limits.max_bytes {
        return Err(MediaError::too_large(format!(
            "decoding the image of {size} takes {bytes} bytes, the limit is {}",
            limits.max_bytes
        )));
    }
    Ok(size)
}

/// Third-party decoders have panicked on hostile files before; here that is one more kind of damage.
fn guarded<T>(decode: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(MediaError::damaged("the decoder gave up on the file's content")))
}

fn library_error(error: ImageError) -> MediaError {
    let made = match &error {
        ImageError::Limits(_) => {
            MediaError::too_large(format!("decoding takes more than the limit: {error}"))
        }
        ImageError::Unsupported(_) => MediaError::new(MediaErrorKind::Unsupported, error.to_string()),
        ImageError::IoError(io) if io.kind() != std::io::ErrorKind::UnexpectedEof => {
            MediaError::damaged(format!("the image cannot be read: {io}"))
        }
        ImageError::IoError(_) => MediaError::damaged("the image is cut short"),
        _ => MediaError::damaged(format!("the image is damaged or cut short: {error}")),
    };
    made.caused_by(error)
}

/// RGB from whatever the file held.
fn rgb_from(image: DynamicImage) -> Result<RgbImage> {
    let size = Size::new(image.width(), image.height());
    let high = |value: u16| (value >> 8) as u8;
    let pixels = match image {
        DynamicImage::ImageRgb8(buffer) => buffer.into_raw(),
        DynamicImage::ImageRgba8(buffer) => drop_fourth(&buffer),
        DynamicImage::ImageLuma8(buffer) => buffer.iter().flat_map(|&grey| [grey; 3]).collect(),
        DynamicImage::ImageLumaA8(buffer) => buffer.chunks_exact(2).flat_map(|la| [la[0]; 3]).collect(),
        DynamicImage::ImageLuma16(buffer) => buffer.iter().flat_map(|&grey| [high(grey); 3]).collect(),
        DynamicImage::ImageLumaA16(buffer) => {
            buffer.chunks_exact(2).flat_map(|la| [high(la[0]); 3]).collect()
        }
        DynamicImage::ImageRgb16(buffer) => buffer.iter().map(|&value| high(value)).collect(),
        DynamicImage::ImageRgba16(buffer) => {
            buffer.chunks_exact(4).flat_map(|p| [high(p[0]), high(p[1]), high(p[2])]).collect()
        }
        other => other.into_rgb8().into_raw(),
    };
    RgbImage::from_raw(size, pixels)
}

fn drop_fourth(rgba: &[u8]) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(rgba.len() / 4 * 3);
    for pixel in rgba.chunks_exact(4) {
        rgb.extend_from_slice(&pixel[..3]);
    }
    rgb
}

#[cfg(test)]
mod tests;
