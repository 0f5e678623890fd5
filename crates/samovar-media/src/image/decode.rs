//! Bytes to pixels, within limits that hold before anything is decoded.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use ::image::codecs::jpeg::JpegDecoder;
use ::image::{ColorType, DynamicImage, ImageBuffer, ImageDecoder, ImageError, ImageReader, Limits};
use samovar_geometry::{Image, Size};

use super::colour::ColourSpace;
use super::depth::{RangeOfShot, Samples, Viewing};
use super::guard::guarded;
use super::limits::{DecodeLimits, check_limits};
use super::raw::Raw;
use super::rgb::{Orientation, RgbImage};
use super::stored::Stored;
use super::{exr, foreign, jpeg, pages, tiff, webp};
use crate::error::{MediaError, MediaErrorKind, Result};
use crate::mask::BitMask;
use crate::room::{collected, room, zeros};

/// File formats that can be read. Of several pages or an animation the first picture is taken, and that is said.
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
    Exr,
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
            Self::Exr => "OpenEXR",
        }
    }

    /// File name extensions in lower case, for folder listings. Reading goes by content, never by name.
    pub const EXTENSIONS: &'static [&'static str] = &[
        "png", "apng", "jpg", "jpeg", "jpe", "jfif", "mpo", "webp", "bmp", "dib", "tif", "tiff", "btf",
        "tf8", "gif", "pbm", "pgm", "ppm", "pnm", "pam", "exr", "sxr", "mxr",
    ];

    /// The format, by a file's first bytes (32 are enough). Those of PNM and BMP are only two bytes, which other files
    /// may begin with too.
    pub fn of_start(bytes: &[u8]) -> Option<Self> {
        // BigTIFF, which the library does not know as one.
        if bytes.starts_with(b"II+\0") || bytes.starts_with(b"MM\0+") {
            return Some(Self::Tiff);
        }
        if bytes.starts_with(exr::MAGIC) {
            return Some(Self::Exr);
        }
        ::image::guess_format(bytes).ok().and_then(Self::of_library)
    }

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
    /// Bytes of memory that decoding takes at its worst moment, those of the file and of what comes of it included.
    pub decoding_bytes: u64,
    /// Bytes of memory that the decoded picture holds.
    pub pixel_bytes: u64,
}

/// Metadata of an image file, pixels untouched.
pub fn read_metadata(path: &Path, limits: &DecodeLimits) -> Result<ImageMetadata> {
    metadata_of_file(path, limits).map_err(|error| error.at(path))
}

/// Decodes an image file to upright RGB; see [`decode_bytes`].
pub fn decode_file(path: &Path, limits: &DecodeLimits) -> Result<RgbImage> {
    decode_file_as(path, limits, None)
}

/// Decodes an image file whose values mean this; see [`decode_bytes_as`].
pub fn decode_file_as(path: &Path, limits: &DecodeLimits, space: Option<ColourSpace>) -> Result<RgbImage> {
    let bytes = read_file(path, limits);
    bytes.and_then(|bytes| decode_bytes_as(&bytes, limits, space)).map_err(|error| error.at(path))
}

/// Decodes a frame of a shot, whose values mean this, and whose samples of 16 bits have this range where the file states none.
pub(crate) fn decode_frame(
    path: &Path,
    limits: &DecodeLimits,
    range: Option<RangeOfShot>,
    space: Option<ColourSpace>,
) -> Result<RgbImage> {
    let decode = || {
        let mut raw = decode_raw(&read_file(path, limits)?, limits)?;
        if let Some(range) = range {
            raw.stated = range.or_stated(raw.stated);
        }
        raw.into_rgb(Viewing { space, is_frame: true })
    };
    decode().map_err(|error| error.at(path))
}

/// What the values of a picture are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Values {
    /// The largest of a picture of 16 bits a sample, where the file does not say how many it uses.
    pub(crate) largest_unstated: Option<u16>,
    /// Whether frames of them are taken for linear light where nobody says otherwise.
    pub(crate) is_linear: bool,
}

/// Looks at the values of a picture.
pub(crate) fn values_of(path: &Path, limits: &DecodeLimits) -> Result<Values> {
    let raw = decode_raw(&read_file(path, limits)?, limits)?;
    let is_linear = Viewing { space: None, is_frame: true }.space_of(&raw.samples, raw.is_linear).is_some();
    Ok(Values { largest_unstated: raw.largest_unstated(), is_linear })
}

fn read_file(path: &Path, limits: &DecodeLimits) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open(path, limits)?;
    // The file may grow while it is read; the limit holds anyway.
    file.take(limits.max_bytes).read_to_end(&mut bytes).map_err(MediaError::read)?;
    Ok(bytes)
}

/// Reads a mask drawn as a picture: what is white (over 127 in any channel) is set. If the picture has an alpha channel
/// that is not opaque throughout, as a cut-out has, it is what is opaque (over 127) instead.
///
/// # Errors
/// As [`decode_file`], and for a picture that has other values than 0 but none over 127.
pub fn decode_mask_file(path: &Path, limits: &DecodeLimits) -> Result<BitMask> {
    let decode = || {
        let picture = decode_file(path, limits)?;
        let len = picture.size().area() as usize;
        let values: Vec<u8> = match picture.alpha() {
            Some(alpha) => collected(len, alpha.iter().copied())?,
            None => collected(len, picture.pixels().chunks_exact(3).map(|p| p[0].max(p[1]).max(p[2])))?,
        };
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
/// - More than 8 bits per channel become 8 by the range that the file states, or one that is guessed from its values and
///   said in [`RgbImage::notes`]: `image/depth.rs` has the rule. Full 16 bits lose their low byte, as in PIL and OpenCV.
/// - Grey becomes R = G = B. The colour under a transparent pixel is kept, as PIL's `convert("RGB")` does, and alpha and
///   ICC profile go with the image.
/// - CMYK and YCCK JPEG are taken as Adobe's inverted kind, as PIL takes them.
/// - The EXIF orientation is applied. Colour profiles are not.
///
/// JPEG values may differ from libjpeg's by a few units where chroma is subsampled; the standard leaves that open.
pub fn decode_bytes(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage> {
    decode_bytes_as(bytes, limits, None)
}

/// The same for values that mean this, shown as sRGB by [`ColourSpace`]'s table. `None`: OpenEXR is linear light in the primaries that the
/// file states (else those of Rec. 709), everything else sRGB.
pub fn decode_bytes_as(bytes: &[u8], limits: &DecodeLimits, space: Option<ColourSpace>) -> Result<RgbImage> {
    decode_raw(bytes, limits)?.into_rgb(Viewing { space, is_frame: false })
}

/// What the file holds.
fn decode_raw(bytes: &[u8], limits: &DecodeLimits) -> Result<Raw> {
    let format = checked_format(bytes, limits)?;
    let mut raw = match format {
        ImageFormat::Tiff => guarded(|| tiff::decode(bytes, limits))?,
        ImageFormat::Exr => guarded(|| exr::decode(bytes, limits))?,
        _ => guarded(|| raw_of_library(bytes, format, limits))?,
    };
    let pictures = match format {
        ImageFormat::Gif => pages::of_gif(bytes),
        ImageFormat::WebP => pages::of_webp(bytes),
        ImageFormat::Png => pages::of_png(bytes),
        _ => 1,
    };
    if pictures > 1 {
        raw.notes.push(format!("the first of {pictures} pictures of an animation is read"));
    }
    Ok(raw)
}

/// The format, of a file within the limits.
pub(super) fn checked_format(bytes: &[u8], limits: &DecodeLimits) -> Result<ImageFormat> {
    if bytes.len() as u64 > limits.max_bytes {
        return Err(file_too_large(bytes.len() as u64, limits));
    }
    sniff(bytes)
}

/// Decodes to whatever the file holds, for label maps, which must not lose bits. Limits hold; not yet upright.
pub(crate) fn decode_dynamic(bytes: &[u8], limits: &DecodeLimits) -> Result<DynamicImage> {
    let format = checked_format(bytes, limits)?;
    guarded(|| picture_of(checked_decoder(bytes, format, limits)?))
}

/// What a decoder of the library reads, in memory that is asked for here: the library aborts where there is none.
fn picture_of(decoder: impl ImageDecoder) -> Result<DynamicImage> {
    let (width, height) = decoder.dimensions();
    let len = usize::try_from(decoder.total_bytes()).map_err(|_| MediaError::too_large("the image"))?;
    let colour = decoder.color_type();
    let whole = |picture: Option<DynamicImage>| {
        picture.ok_or_else(|| MediaError::damaged("its size is not that of its pixels"))
    };
    match colour {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => {
            let mut values = zeros::<u8>(len)?;
            decoder.read_image(&mut values).map_err(library_error)?;
            whole(match colour {
                ColorType::L8 => ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageLuma8),
                ColorType::La8 => ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageLumaA8),
                ColorType::Rgb8 => ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageRgb8),
                _ => ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageRgba8),
            })
        }
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            let mut values = zeros::<u16>(len / 2)?;
            decoder.read_image(bytemuck::cast_slice_mut(&mut values)).map_err(library_error)?;
            whole(match colour {
                ColorType::L16 => ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageLuma16),
                ColorType::La16 => {
                    ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageLumaA16)
                }
                ColorType::Rgb16 => {
                    ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageRgb16)
                }
                _ => ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageRgba16),
            })
        }
        // Others, which no format here has, are in the library's own vectors, whose size is tried beforehand.
        _ => {
            drop(room::<u8>(len)?);
            DynamicImage::from_decoder(decoder).map_err(library_error)
        }
    }
}

/// The library's decoder, when size and wholeness of the file are known to be good.
pub(super) fn checked_decoder<'b>(
    bytes: &'b [u8],
    format: ImageFormat,
    limits: &DecodeLimits,
) -> Result<impl ImageDecoder + 'b> {
    let mut decoder = reader(Cursor::new(bytes))?.into_decoder().map_err(library_error)?;
    let size = checked_size(&decoder, limits)?;
    if let Some(cut) = (format == ImageFormat::Jpeg).then(|| jpeg::cut_of(bytes, limits.max_pixels)).flatten()
    {
        return Err(MediaError::damaged(cut.describe()));
    }
    if format == ImageFormat::Png && !pages::png_palette_is_whole(bytes) {
        return Err(MediaError::damaged("its colour table ends in the middle of a colour"));
    }
    if format == ImageFormat::WebP && !webp::frames_fit(bytes, size) {
        return Err(MediaError::damaged("a frame is larger than the picture it is in"));
    }
    let mut library_limits = Limits::no_limits();
    library_limits.max_alloc = Some(limits.max_bytes);
    decoder.set_limits(library_limits).map_err(library_error)?;
    Ok(decoder)
}

/// What the library reads.
fn raw_of_library(bytes: &[u8], format: ImageFormat, limits: &DecodeLimits) -> Result<Raw> {
    let mut decoder = checked_decoder(bytes, format, limits)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    // A damaged profile is no reason to refuse the picture.
    let icc_profile = decoder.icc_profile().ok().flatten();
    // What the library has for itself beside the samples, which is tried beforehand.
    let (width, height) = decoder.dimensions();
    let working_bytes = usize::try_from(working_bytes(format, Size::new(width, height), bytes, limits));
    drop(room::<u8>(working_bytes.unwrap_or(usize::MAX))?);
    let image = picture_of(decoder)?;
    let size = Size::new(image.width(), image.height());
    let (colours, samples, alpha) = samples_of(image)?;
    let mut raw = Raw::new(size, colours, samples);
    raw.alpha = alpha;
    raw.orientation = orientation;
    raw.icc_profile = icc_profile;
    if format == ImageFormat::Png {
        raw.stated = pages::bits_of_png(bytes);
    }
    Ok(raw)
}

/// Colours (1 or 3), their samples and the alpha of what the library read.
fn samples_of(image: DynamicImage) -> Result<(usize, Samples, Option<Samples>)> {
    // In place: a second copy of the colours would be half as much memory again.
    fn split<T: Copy>(mut values: Vec<T>, channels: usize) -> Result<(Vec<T>, Vec<T>)> {
        let pixels = values.len() / channels;
        let alpha = collected(pixels, values.chunks_exact(channels).map(|pixel| pixel[channels - 1]))?;
        let colours = channels - 1;
        for pixel in 1..pixels {
            for channel in 0..colours {
                values[pixel * colours + channel] = values[pixel * channels + channel];
            }
        }
        values.truncate(pixels * colours);
        values.shrink_to_fit();
        Ok((values, alpha))
    }
    let eight = |(colours, alpha)| (Samples::Eight(colours), Some(Samples::Eight(alpha)));
    let sixteen = |(colours, alpha)| (Samples::Sixteen(colours), Some(Samples::Sixteen(alpha)));
    let (colours, (samples, alpha)) = match image {
        DynamicImage::ImageLuma8(buffer) => (1, (Samples::Eight(buffer.into_raw()), None)),
        DynamicImage::ImageLumaA8(buffer) => (1, eight(split(buffer.into_raw(), 2)?)),
        DynamicImage::ImageRgba8(buffer) => (3, eight(split(buffer.into_raw(), 4)?)),
        DynamicImage::ImageLuma16(buffer) => (1, (Samples::Sixteen(buffer.into_raw()), None)),
        DynamicImage::ImageLumaA16(buffer) => (1, sixteen(split(buffer.into_raw(), 2)?)),
        DynamicImage::ImageRgb16(buffer) => (3, (Samples::Sixteen(buffer.into_raw()), None)),
        DynamicImage::ImageRgba16(buffer) => (3, sixteen(split(buffer.into_raw(), 4)?)),
        other => (3, (Samples::Eight(other.into_rgb8().into_raw()), None)),
    };
    Ok((colours, samples, alpha))
}

/// The format, by the first bytes.
fn sniff(bytes: &[u8]) -> Result<ImageFormat> {
    ImageFormat::of_start(bytes).ok_or_else(|| match (bytes.is_empty(), foreign::foreign_by_start(bytes)) {
        (true, _) => MediaError::damaged("the file is empty"),
        (false, Some(name)) => {
            MediaError::new(MediaErrorKind::Unsupported, format!("this is {name}, which cannot be read here"))
                .advise(foreign::how_to_convert(name))
        }
        (false, None) if foreign::is_sound(bytes) => {
            MediaError::new(MediaErrorKind::Unsupported, "this is sound, without pictures")
                .advise("name an image, or a video with pictures in it")
        }
        (false, None) => {
            MediaError::new(MediaErrorKind::Unsupported, "this is no image format that can be read here")
        }
    })
}

/// Metadata of an image in memory, pixels untouched.
pub fn metadata_of_bytes(bytes: &[u8], limits: &DecodeLimits) -> Result<ImageMetadata> {
    let format = sniff(bytes)?;
    let stored = guarded(|| match format {
        ImageFormat::Tiff => tiff::header(Cursor::new(bytes), limits),
        ImageFormat::Exr => exr::header(Cursor::new(bytes), limits),
        _ => {
            let decoder = reader(Cursor::new(bytes))?.into_decoder().map_err(library_error)?;
            stored_of(decoder, format, bytes, limits)
        }
    })?;
    Ok(as_seen(&stored, format, bytes.len() as u64))
}

fn metadata_of_file(path: &Path, limits: &DecodeLimits) -> Result<ImageMetadata> {
    /// Enough for the headers of nearly every JPEG, thumbnail and colour profile included.
    const JPEG_HEADER_BYTES: u64 = 256 << 10;
    let mut file = BufReader::new(open(path, limits)?);
    let file_bytes = file.get_ref().metadata().map_err(MediaError::read)?.len();
    let start = file.fill_buf().map_err(MediaError::read)?;
    let format = sniff(start)?;
    let start = start.to_vec();
    if format == ImageFormat::Jpeg {
        // The JPEG decoder reads its whole input at once; the start of the file is nearly always enough for it.
        let mut start = Vec::new();
        file.by_ref().take(JPEG_HEADER_BYTES).read_to_end(&mut start).map_err(MediaError::read)?;
        if let Ok(stored) = guarded(|| {
            stored_of(JpegDecoder::new(Cursor::new(&start)).map_err(library_error)?, format, &start, limits)
        }) {
            return Ok(as_seen(&stored, format, file_bytes));
        }
        file.rewind().map_err(MediaError::read)?;
    }
    let stored = guarded(|| match format {
        ImageFormat::Tiff => tiff::header(file, limits),
        ImageFormat::Exr => exr::header(file, limits),
        _ => stored_of(reader(file)?.into_decoder().map_err(library_error)?, format, &start, limits),
    })?;
    Ok(as_seen(&stored, format, file_bytes))
}

/// What the library's decoder knows before it decodes; `start` is what the file begins with.
fn stored_of(
    mut decoder: impl ImageDecoder,
    format: ImageFormat,
    start: &[u8],
    limits: &DecodeLimits,
) -> Result<Stored> {
    let size = checked_size(&decoder, limits)?;
    let colour = decoder.color_type();
    let has_alpha = colour.has_alpha();
    let working_bytes = working_bytes(format, size, start, limits);
    let converting_bytes = match colour {
        ColorType::Rgb8 => 0,
        // Samples close ranks where they lie, and what is left over is the alpha.
        ColorType::Rgba8 => size.area(),
        _ => rgb_and_alpha_bytes(size, has_alpha),
    };
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let sample_bytes = decoder.total_bytes();
    Ok(Stored { size, orientation, sample_bytes, working_bytes, converting_bytes, has_alpha })
}

/// What the library's decoder has beside the samples it hands out.
fn working_bytes(format: ImageFormat, size: Size<Image>, start: &[u8], limits: &DecodeLimits) -> u64 {
    match format {
        // Coefficients of all scans.
        ImageFormat::Jpeg => jpeg::coefficient_bytes(start, limits.max_pixels),
        // Planes of luma and chroma, or the lossless decoder's own pixels; a frame and what it is drawn on.
        ImageFormat::WebP | ImageFormat::Gif => size.area() * 4,
        _ => 0,
    }
}

fn rgb_and_alpha_bytes(size: Size<Image>, has_alpha: bool) -> u64 {
    size.area() * if has_alpha { 4 } else { 3 }
}

/// Metadata of a picture that is stored so in a file of this length.
fn as_seen(stored: &Stored, format: ImageFormat, file_bytes: u64) -> ImageMetadata {
    let Stored { size: stored_size, orientation, .. } = *stored;
    let turned = matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    let size = match turned {
        true => Size::new(stored_size.height, stored_size.width),
        false => stored_size,
    };
    let pixel_bytes = rgb_and_alpha_bytes(size, stored.has_alpha);
    // A turned picture is a second one beside the first; to mirror it takes nothing.
    let turning_bytes = if turned { pixel_bytes + rgb_and_alpha_bytes(size, false) } else { 0 };
    let decoding = stored.sample_bytes + stored.working_bytes.max(stored.converting_bytes);
    // The JPEG decoder has the file for itself once more.
    let copies = if format == ImageFormat::Jpeg { 2 } else { 1 };
    let decoding_bytes = file_bytes.saturating_mul(copies).saturating_add(decoding.max(turning_bytes));
    ImageMetadata { size, format: Some(format), orientation, decoding_bytes, pixel_bytes }
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
    let what = format!("the file has {bytes} bytes, the limit is {}", limits.max_bytes);
    MediaError::too_large_unless(what, DecodeLimits::pixels_for(limits.max_pixels, bytes))
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
    // What the file holds, and the RGB made from it.
    check_limits(size, decoder.total_bytes().saturating_add(size.area().saturating_mul(3)), limits)?;
    Ok(size)
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

#[cfg(test)]
mod tests;
