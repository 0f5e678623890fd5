//! TIFF in more kinds than the picture library reads: floating point, signed, deep, of many bands, with a palette, with
//! JPEG, WebP or Zstandard inside, BigTIFF. The first page is read.

mod directory;

use std::borrow::Cow;
use std::io::{Cursor, Read, Seek};

use ::tiff::decoder::ifd::Value;
use ::tiff::decoder::{BufferLayoutPreference, Decoder, DecodingResult, DecodingSampleType, Limits};
use ::tiff::tags::{PhotometricInterpretation, Tag};
use ::tiff::{ColorType, TiffError};
use samovar_geometry::{Image, Size};

use self::directory::Directory;
use super::depth::{Samples, Stated};
use super::jpeg;
use super::limits::{DecodeLimits, check_limits};
use super::raw::Raw;
use super::rgb::Orientation;
use super::stored::Stored;
use crate::error::{MediaError, MediaErrorKind, Result};
use crate::room::{collected, room, zeros};

const ADVICE: &str = "convert it to 8- or 16-bit grey or RGB, as PNG or TIFF (`gdal_translate -scale -ot Byte` and \
                      `magick` can)";

/// What TIFF calls alpha that the colours were multiplied by, and alpha that they were not (tag `ExtraSamples`).
const ASSOCIATED_ALPHA: u16 = 1;
const UNASSOCIATED_ALPHA: u16 = 2;

/// What is known of the first page within the limits, pixels untouched.
pub(super) fn header<R: Read + Seek>(source: R, limits: &DecodeLimits) -> Result<Stored> {
    let mut decoder = Decoder::new(source).map_err(library_error)?;
    let size = checked_size(&mut decoder, limits)?;
    let colour = decoder.colortype().ok();
    let taken = colour.and_then(|colour| Taken::of(colour, &mut decoder).ok());
    // What cannot be read is not decoded.
    let (channels, sample_bytes, picked_bytes) = match (colour, &taken) {
        (Some(colour), Some(taken)) => {
            let bytes = u64::from(colour.bit_depth()).div_ceil(8);
            let picked = if bytes > 2 { 4 } else { bytes };
            (taken.channels as u64, bytes, taken.picked() * picked)
        }
        _ => (0, 0, 0),
    };
    let has_alpha = taken.is_some_and(|taken| taken.alpha.is_some());
    Ok(Stored {
        size,
        orientation: orientation(&mut decoder),
        sample_bytes: size.area() * channels * sample_bytes,
        working_bytes: 0,
        // Those that are picked, then RGB and alpha of them; a palette and grey become three of one.
        converting_bytes: size.area() * picked_bytes.max(3 + u64::from(has_alpha)),
        has_alpha,
    })
}

/// The stored size, if it and the bytes it takes to decode are within the limits.
fn checked_size<R: Read + Seek>(decoder: &mut Decoder<R>, limits: &DecodeLimits) -> Result<Size<Image>> {
    let (width, height) = decoder.dimensions().map_err(library_error)?;
    let size = Size::<Image>::new(width, height);
    // The samples of the file, those that are shown, and, where these have more than 8 bits, the RGB and alpha made of them. Colours
    // that are not read have no samples, and an error of their own.
    let bytes = decoder.colortype().map_or(0, |colour| {
        let sample_bytes = u64::from(colour.bit_depth()).div_ceil(8);
        let shown_bytes = if sample_bytes > 2 { 4 } else { sample_bytes };
        let made_bytes = if sample_bytes > 1 { 4 } else { 0 };
        let samples = u64::from(colour.num_samples());
        samples.saturating_mul(sample_bytes) + samples.clamp(3, 5) * shown_bytes + made_bytes
    });
    check_limits(size, size.area().saturating_mul(bytes), limits)?;
    Ok(size)
}

/// Decodes the first page.
pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Raw> {
    let directory = Directory::first(bytes);
    let (bytes, is_palette) = as_grey_if_palette(bytes, directory.as_ref());
    let max_bytes = usize::try_from(limits.max_bytes).unwrap_or(usize::MAX);
    let mut library_limits = Limits::default();
    (library_limits.decoding_buffer_size, library_limits.intermediate_buffer_size) = (max_bytes, max_bytes);
    library_limits.ifd_value_size = bytes.len();
    let mut decoder =
        Decoder::new(Cursor::new(&bytes[..])).map_err(library_error)?.with_limits(library_limits.clone());
    let size = checked_size(&mut decoder, limits)?;
    let colour = decoder.colortype().map_err(library_error)?;
    check_chunks(&mut decoder, &bytes, limits)?;
    let taken = Taken::of(colour, &mut decoder)?;
    let pixels = size.area() as usize;
    let layout = decoder.image_buffer_layout().map_err(library_error)?;
    let mut result = match layout.sample_type {
        Some(DecodingSampleType::U8) => DecodingResult::U8(zeros(layout.complete_len)?),
        Some(DecodingSampleType::U16) => DecodingResult::U16(zeros(layout.complete_len.div_ceil(2))?),
        Some(DecodingSampleType::F32) => DecodingResult::F32(zeros(layout.complete_len.div_ceil(4))?),
        // Of rarer ones the library has vectors of its own, whose size is tried beforehand.
        _ => {
            drop(room::<u8>(layout.complete_len)?);
            let mut result = DecodingResult::U8(Vec::new());
            result.resize_to(&layout, &library_limits).map_err(library_error)?;
            result
        }
    };
    decoder.read_image_bytes(result.as_buffer(0).as_bytes_mut()).map_err(library_error)?;
    let mut raw = match colour {
        ColorType::Gray(bits @ (1 | 2 | 4)) => {
            let DecodingResult::U8(packed) = result else { return Err(unsupported("its samples are odd")) };
            let values = unpacked(&packed, size, bits)?;
            match is_palette {
                true => palette(&values, &mut decoder)?,
                false => {
                    let white = (1u16 << bits) - 1;
                    let spread = values.iter().map(|&value| (u16::from(value) * 255 / white) as u8);
                    Raw::new(size, 1, Samples::Eight(collected(values.len(), spread)?))
                }
            }
        }
        ColorType::Gray(8) if is_palette => match result {
            DecodingResult::U8(values) => palette(&values[..pixels.min(values.len())], &mut decoder)?,
            _ => return Err(unsupported("its palette has signed indices")),
        },
        _ if is_palette => return Err(unsupported("its palette has indices of more than 8 bits")),
        _ => taken.raw(size, result, &layout)?,
    };
    raw.size = size;
    raw.orientation = orientation(&mut decoder);
    raw.stated = stated(&mut decoder);
    raw.no_data = no_data(&mut decoder);
    raw.icc_profile = decoder.get_tag_u8_vec(Tag::IccProfile).ok();
    raw.notes.extend(taken.note);
    let pages = directory.map_or(1, Directory::pages);
    if pages > 1 {
        raw.notes.push(format!("page 1 of {pages} is read"));
    }
    Ok(raw)
}

/// The library refuses palettes; without that word it reads their indices as grey.
fn as_grey_if_palette<'b>(bytes: &'b [u8], directory: Option<&Directory>) -> (Cow<'b, [u8]>, bool) {
    let found = directory.and_then(|directory| {
        let at = directory.place_of_short(Tag::PhotometricInterpretation.to_u16())?;
        let word = |value: PhotometricInterpretation| directory.short(value.to_u16());
        let is_palette = bytes.get(at..at + 2)? == word(PhotometricInterpretation::RGBPalette);
        is_palette.then(|| (at, word(PhotometricInterpretation::BlackIsZero)))
    });
    let Some((at, grey)) = found else { return (Cow::Borrowed(bytes), false) };
    let mut changed = bytes.to_vec();
    changed[at..at + 2].copy_from_slice(&grey);
    (Cow::Owned(changed), true)
}

/// Strips and tiles must be in the file, and JPEGs in them whole: the library pads what is missing.
fn check_chunks<R: Read + Seek>(decoder: &mut Decoder<R>, bytes: &[u8], limits: &DecodeLimits) -> Result<()> {
    let is_jpeg = decoder.find_tag_unsigned::<u16>(Tag::Compression).ok().flatten() == Some(7);
    let [offsets, lengths] =
        [[Tag::StripOffsets, Tag::TileOffsets], [Tag::StripByteCounts, Tag::TileByteCounts]].map(|tags| {
            tags.into_iter().find_map(|tag| decoder.find_tag_unsigned_vec::<u64>(tag).ok().flatten())
        });
    for (offset, length) in offsets.unwrap_or_default().into_iter().zip(lengths.unwrap_or_default()) {
        let end = offset.saturating_add(length);
        let Some(chunk) = usize::try_from(end).ok().and_then(|end| bytes.get(offset as usize..end)) else {
            return Err(MediaError::damaged(
                "the TIFF is cut short: its picture goes on beyond the file's end",
            ));
        };
        if let Some(cut) = is_jpeg.then(|| jpeg::cut_of(chunk, limits.max_pixels)).flatten() {
            return Err(MediaError::damaged(format!("{}, inside the TIFF", cut.describe())));
        }
    }
    Ok(())
}

/// What is taken of the samples of a pixel.
struct Taken {
    /// Samples of a pixel.
    channels: usize,
    colours: Colours,
    /// Which sample is the alpha.
    alpha: Option<usize>,
    /// Whether the colours were multiplied by it.
    is_premultiplied: bool,
    note: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Colours {
    Grey,
    Rgb,
    Cmyk,
    YCbCr,
}

impl Taken {
    /// How many of a pixel's samples are taken.
    fn picked(&self) -> u64 {
        let colours = match self.colours {
            Colours::Grey => 1,
            Colours::Rgb | Colours::YCbCr => 3,
            Colours::Cmyk => 4,
        };
        colours + u64::from(self.alpha.is_some())
    }

    fn of<R: Read + Seek>(colour: ColorType, decoder: &mut Decoder<R>) -> Result<Self> {
        let extra =
            decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples).ok().flatten().unwrap_or_default();
        // Without that word a fourth band may be anything, infrared say.
        let has_alpha = matches!(extra.first(), Some(&(ASSOCIATED_ALPHA | UNASSOCIATED_ALPHA)));
        let channels = usize::from(colour.num_samples());
        let taken = |colours, alpha: Option<usize>| Self {
            channels,
            colours,
            alpha: alpha.filter(|_| has_alpha),
            is_premultiplied: extra.first() == Some(&ASSOCIATED_ALPHA),
            note: None,
        };
        Ok(match colour {
            ColorType::Gray(_) => taken(Colours::Grey, None),
            ColorType::GrayA(_) => taken(Colours::Grey, Some(1)),
            ColorType::RGB(_) => taken(Colours::Rgb, None),
            ColorType::RGBA(_) => taken(Colours::Rgb, Some(3)),
            ColorType::CMYK(_) => taken(Colours::Cmyk, None),
            ColorType::CMYKA(_) => taken(Colours::Cmyk, Some(4)),
            ColorType::YCbCr(8) => taken(Colours::YCbCr, None),
            ColorType::Multiband { num_samples: 2, .. } if has_alpha => taken(Colours::Grey, Some(1)),
            ColorType::Multiband { num_samples: 0..3, .. } => {
                let note = Some(format!("it has {channels} bands: the first is shown as grey"));
                Self { note, ..taken(Colours::Grey, None) }
            }
            ColorType::Multiband { .. } => {
                let note =
                    format!("it has {channels} bands: the first three are shown as red, green and blue");
                Self { note: Some(note), ..taken(Colours::Rgb, None) }
            }
            other => return Err(unsupported(&format!("its colours are {other:?}"))),
        })
    }

    fn raw(&self, size: Size<Image>, result: DecodingResult, layout: &BufferLayoutPreference) -> Result<Raw> {
        let pixels = size.area() as usize;
        let plane = (layout.planes > 1).then_some(pixels);
        let (samples, colours) = match self.colours {
            Colours::Grey => (self.pick(result, &[0], pixels, plane)?, 1),
            Colours::Rgb => (self.pick(result, &[0, 1, 2], pixels, plane)?, 3),
            Colours::YCbCr => match self.pick(result, &[0, 1, 2], pixels, plane)?.0 {
                Samples::Eight(values) => {
                    let rgb = collected(values.len(), values.chunks_exact(3).flat_map(rgb_of_ycbcr))?;
                    ((Samples::Eight(rgb), None), 3)
                }
                _ => return Err(unsupported("its colours are YCbCr of more than 8 bits")),
            },
            Colours::Cmyk => {
                let (samples, alpha) = self.pick(result, &[0, 1, 2, 3], pixels, plane)?;
                let values = match samples {
                    Samples::Eight(values) => values,
                    Samples::Sixteen(values) => {
                        collected(values.len(), values.iter().map(|&value| (value >> 8) as u8))?
                    }
                    _ => return Err(unsupported("its colours are CMYK of more than 16 bits")),
                };
                let rgb = collected(values.len() / 4 * 3, values.chunks_exact(4).flat_map(rgb_of_cmyk))?;
                ((Samples::Eight(rgb), alpha), 3)
            }
        };
        let mut raw = Raw::new(size, colours, samples.0);
        raw.alpha = samples.1;
        raw.is_premultiplied = self.is_premultiplied;
        Ok(raw)
    }

    /// These samples of every pixel, and its alpha. `plane` is the number of samples of a plane, where each channel has one.
    fn pick(
        &self,
        result: DecodingResult,
        which: &[usize],
        pixels: usize,
        plane: Option<usize>,
    ) -> Result<(Samples, Option<Samples>)> {
        fn picked<T: Copy, U>(
            values: &[T],
            channels: usize,
            (which, alpha): (&[usize], Option<usize>),
            (pixels, plane): (usize, Option<usize>),
            convert: impl Fn(T) -> U,
        ) -> Result<(Vec<U>, Option<Vec<U>>)> {
            if values.len() < pixels.saturating_mul(channels) {
                return Err(MediaError::damaged("the TIFF is cut short: it has fewer samples than pixels"));
            }
            let at = |pixel: usize, channel: usize| match plane {
                Some(plane) => convert(values[channel * plane + pixel]),
                None => convert(values[pixel * channels + channel]),
            };
            let colours = (0..pixels).flat_map(|pixel| which.iter().map(move |&channel| (pixel, channel)));
            let colours = colours.map(|(pixel, channel)| at(pixel, channel));
            let colours = collected(pixels.saturating_mul(which.len()), colours)?;
            let alpha = alpha.map(|alpha| collected(pixels, (0..pixels).map(|pixel| at(pixel, alpha))));
            Ok((colours, alpha.transpose()?))
        }
        macro_rules! pick {
            ($kind:path, $values:expr, $convert:expr) => {{
                let (colours, alpha) =
                    picked(&$values, self.channels, (which, self.alpha), (pixels, plane), $convert)?;
                ($kind(colours), alpha.map($kind))
            }};
        }
        Ok(match result {
            DecodingResult::U8(values) => pick!(Samples::Eight, values, |value| value),
            DecodingResult::U16(values) => pick!(Samples::Sixteen, values, |value| value),
            DecodingResult::F16(values) => pick!(Samples::Float, values, |value| value.to_f32()),
            DecodingResult::F32(values) => pick!(Samples::Float, values, |value| value),
            DecodingResult::F64(values) => pick!(Samples::Float, values, |value| value as f32),
            DecodingResult::I8(values) => pick!(Samples::Integer, values, f32::from),
            DecodingResult::I16(values) => pick!(Samples::Integer, values, f32::from),
            DecodingResult::I32(values) => pick!(Samples::Integer, values, |value| value as f32),
            DecodingResult::I64(values) => pick!(Samples::Integer, values, |value| value as f32),
            DecodingResult::U32(values) => pick!(Samples::Integer, values, |value| value as f32),
            DecodingResult::U64(values) => pick!(Samples::Integer, values, |value| value as f32),
        })
    }
}

/// Samples of fewer than 8 bits, one a byte; rows begin with a byte.
fn unpacked(packed: &[u8], size: Size<Image>, bits: u8) -> Result<Vec<u8>> {
    let per_byte = usize::from(8 / bits);
    let width = size.width as usize;
    let rows = packed.chunks(width.div_ceil(per_byte)).take(size.height as usize);
    let sample = |row: &[u8], x: usize| {
        let shift = 8 - bits as usize * (x % per_byte + 1);
        row.get(x / per_byte).map_or(0, |byte| byte >> shift & ((1 << bits) - 1))
    };
    collected(size.area() as usize, rows.flat_map(|row| (0..width).map(move |x| sample(row, x))))
}

/// Indices looked up in the file's colour map: all reds, all greens, all blues, 16 bits each.
fn palette<R: Read + Seek>(indices: &[u8], decoder: &mut Decoder<R>) -> Result<Raw> {
    let map = decoder.find_tag_unsigned_vec::<u16>(Tag::ColorMap).map_err(library_error)?;
    let map = map.ok_or_else(|| MediaError::damaged("the TIFF has indices of colours and no colours"))?;
    let colours = map.len() / 3;
    // Some programs write 8 bits where 16 are due.
    let shift = if map.iter().all(|&value| value < 256) { 0 } else { 8 };
    let colour = |&index: &u8| {
        let channel = |channel: usize| {
            map.get(usize::from(index) + channel * colours).map_or(0, |&value| (value >> shift) as u8)
        };
        if usize::from(index) < colours { [0, 1, 2].map(channel) } else { [0; 3] }
    };
    let colours = collected(indices.len().saturating_mul(3), indices.iter().flat_map(colour))?;
    Ok(Raw::new(Size::new(0, 0), 3, Samples::Eight(colours)))
}

/// As JFIF: full range, coefficients of Rec. 601.
fn rgb_of_ycbcr(ycbcr: &[u8]) -> [u8; 3] {
    let [y, cb, cr] = [0, 1, 2].map(|channel| f32::from(ycbcr[channel]));
    let (cb, cr) = (cb - 128.0, cr - 128.0);
    let rgb = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
    rgb.map(|value| (value + 0.5).clamp(0.0, 255.0) as u8)
}

fn rgb_of_cmyk(cmyk: &[u8]) -> [u8; 3] {
    let left = 1.0 - f32::from(cmyk[3]) / 255.0;
    [0, 1, 2].map(|channel| ((255.0 - f32::from(cmyk[channel])) * left) as u8)
}

fn orientation<R: Read + Seek>(decoder: &mut Decoder<R>) -> Orientation {
    let value = decoder.find_tag_unsigned::<u16>(Tag::Orientation).ok().flatten();
    let value = value.and_then(|value| Orientation::from_exif(value.min(255) as u8));
    value.unwrap_or(Orientation::NoTransforms)
}

/// The range that the file states. `MaxSampleValue` is one number per channel, and for integers alone.
fn stated<R: Read + Seek>(decoder: &mut Decoder<R>) -> Stated {
    let mut bound = |tag| {
        let unsigned = decoder.find_tag_unsigned_vec::<u64>(tag).ok().flatten();
        let unsigned = unsigned.map(|values| values.into_iter().map(|value| value as f64).collect());
        let values: Vec<f64> = unsigned.or_else(|| {
            let value = decoder.find_tag(tag).ok().flatten()?;
            let signed =
                |value: Value| value.into_i64_vec().map(|v| v.into_iter().map(|v| v as f64).collect());
            let single = |value: Value| value.into_f32_vec().map(|v| v.into_iter().map(f64::from).collect());
            let found = value.clone().into_f64_vec().or_else(|_| single(value.clone()));
            found.or_else(|_| signed(value)).ok()
        })?;
        values.into_iter().reduce(f64::max).map(|value| value as f32)
    };
    let [least, most, most_integer] =
        [Tag::SMinSampleValue, Tag::SMaxSampleValue, Tag::MaxSampleValue].map(&mut bound);
    match (least, most, most_integer) {
        (Some(least), Some(most), _) if most > least => Stated::Range(least, most),
        // Below that it is one of the writers that mean bits, or nothing.
        (_, _, Some(most)) if (255.0..65535.0).contains(&most) => Stated::Range(0.0, most),
        _ => Stated::Nothing,
    }
}

/// GDAL's mark for pixels without a value.
fn no_data<R: Read + Seek>(decoder: &mut Decoder<R>) -> Option<f32> {
    let text = decoder.get_tag_ascii_string(Tag::GdalNodata).ok()?;
    text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).parse().ok()
}

fn unsupported(what: &str) -> MediaError {
    MediaError::new(MediaErrorKind::Unsupported, format!("this kind of TIFF is not read here: {what}"))
        .advise(ADVICE)
}

fn library_error(error: TiffError) -> MediaError {
    let made = match &error {
        TiffError::UnsupportedError(what) => unsupported(&what.to_string()),
        TiffError::LimitsExceeded => MediaError::too_large("decoding takes more than the limit"),
        TiffError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            MediaError::damaged("the TIFF is cut short")
        }
        _ => MediaError::damaged(format!("the TIFF is damaged or cut short: {error}")),
    };
    made.caused_by(error)
}

#[cfg(test)]
mod tests;
