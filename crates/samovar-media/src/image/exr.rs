//! OpenEXR: the colours of one layer as linear floating point, framed by the display window.

use std::io::{BufRead, Cursor, Seek};

use ::exr::block::UncompressedBlock;
use ::exr::block::chunk::{Chunk, CompressedBlock, CompressedScanLineBlock, CompressedTileBlock};
use ::exr::block::reader::{ChunksReader, Reader};
use ::exr::compression::Compression;
use ::exr::error::Error as LibraryError;
use ::exr::meta::attribute::{ChannelList, SampleType};
use ::exr::meta::header::Header;
use half::f16;
use samovar_geometry::{Image, Size};

use super::colour::Primaries;
use super::depth::Samples;
use super::limits::{DecodeLimits, check_limits};
use super::raw::Raw;
use super::rgb::Orientation;
use super::stored::Stored;
use crate::error::{MediaError, MediaErrorKind, Result};
use crate::room::zeros;

/// What files begin with.
pub(super) const MAGIC: &[u8] = b"v/1\x01";

const ADVICE: &str =
    "write R, G and B as flat 16- or 32-bit floating point, ZIP or PIZ (`oiiotool IN --ch R,G,B -o OUT.exr`)";

/// What is known of a file within the limits, pixels untouched.
pub(super) fn header<R: BufRead + Seek>(source: R, limits: &DecodeLimits) -> Result<Stored> {
    let reader = Reader::read_from_buffered(source, false).map_err(library_error)?;
    let picture = Picture::of(reader.headers())?;
    let header = &reader.headers()[picture.layer];
    let working_bytes = picture.check(header, limits)?;
    let (samples, has_alpha) = (picture.taken.samples() as u64, picture.taken.alpha.is_some());
    Ok(Stored {
        size: picture.size,
        orientation: Orientation::NoTransforms,
        sample_bytes: picture.size.area() * samples * 4,
        working_bytes,
        converting_bytes: picture.size.area() * (3 + u64::from(has_alpha)) * 2,
        has_alpha,
    })
}

/// Decodes the colours.
pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Raw> {
    let reader = Reader::read_from_buffered(Cursor::new(bytes), false).map_err(library_error)?;
    let picture = Picture::of(reader.headers())?;
    let header = reader.headers()[picture.layer].clone();
    picture.check(&header, limits)?;
    let mut planes = Planes::new(&picture, &header)?;
    let layer = picture.layer;
    let chunks = reader
        .filter_chunks(false, |_, _, block| block.layer == layer && block.level.0 == 0 && block.level.1 == 0);
    let chunks = chunks.map_err(library_error)?;
    let (expected, meta_data) = (chunks.expected_chunk_count(), chunks.meta_data().clone());
    let mut read = 0;
    for chunk in chunks {
        let chunk = chunk.map_err(library_error)?;
        if is_dwa(&header) {
            check_dwa(&chunk, &header)?;
        }
        let block = UncompressedBlock::decompress_chunk(chunk, &meta_data, false).map_err(library_error)?;
        planes.take(&block, &header.channels)?;
        read += 1;
    }
    if read < expected {
        return Err(MediaError::damaged("the file is cut short: parts of its picture are missing"));
    }
    planes.into_raw(picture, &header)
}

fn is_dwa(header: &Header) -> bool {
    matches!(header.compression, Compression::DWAA(_) | Compression::DWAB(_))
}

/// A chunk of DWA begins with the sizes of what is in it, for which the library makes room as they say. No size of a whole one is
/// more than a few times its samples.
fn check_dwa(chunk: &Chunk, header: &Header) -> Result<()> {
    /// Eleven numbers of 8 bytes; sizes that are compressed are checked against what there is.
    const UNCOMPRESSED_SIZES: [usize; 5] = [1, 6, 7, 8, 9];
    /// Bytes for each sample, at most: twice those of the widest.
    const MOST: u64 = 8;
    let (CompressedBlock::ScanLine(CompressedScanLineBlock { compressed_pixels_le: bytes, .. })
    | CompressedBlock::Tile(CompressedTileBlock { compressed_pixels_le: bytes, .. })) =
        &chunk.compressed_block
    else {
        return Ok(());
    };
    let block = header.max_block_pixel_size();
    // Blocks of 8 by 8 may go beyond the edges.
    let side = |value: usize, most: usize| (value.min(most) as u64).saturating_add(8);
    let pixels = side(block.width(), header.layer_size.width())
        .saturating_mul(side(block.height(), header.layer_size.height()));
    let samples = pixels.saturating_mul(header.channels.list.len() as u64);
    let number = |index: usize| Some(u64::from_le_bytes(*bytes.get(index * 8..)?.first_chunk()?));
    let is_sound = |index: usize| number(index).is_none_or(|size| size <= samples.saturating_mul(MOST));
    match UNCOMPRESSED_SIZES.into_iter().all(is_sound) {
        true => Ok(()),
        false => Err(MediaError::damaged("a part of its picture claims to be larger than it can be")),
    }
}

/// What is taken of a file.
struct Picture {
    /// Which of its layers.
    layer: usize,
    taken: Taken,
    /// Of the display window.
    size: Size<Image>,
    notes: Vec<String>,
}

/// The channels that are taken, by their places in the layer's list.
#[derive(Debug, Clone, PartialEq)]
struct Taken {
    /// Red, green and blue, or one that is shown as grey.
    colours: Vec<usize>,
    alpha: Option<usize>,
    /// What stands before their names.
    prefix: String,
    note: Option<String>,
}

impl Taken {
    fn samples(&self) -> usize {
        self.colours.len() + usize::from(self.alpha.is_some())
    }

    /// R, G and B, of those without a layer's name before theirs first; or Y.
    fn of(channels: &ChannelList) -> Option<Self> {
        let names: Vec<String> = channels.list.iter().map(|channel| channel.name.to_string()).collect();
        let find = |prefix: &str, name: &str| {
            names.iter().position(|full| {
                full.strip_prefix(prefix).is_some_and(|rest| rest.eq_ignore_ascii_case(name))
            })
        };
        let mut prefixes = vec![String::new()];
        prefixes.extend(names.iter().filter_map(|name| Some(name[..=name.rfind('.')?].to_owned())));
        prefixes.dedup();
        let rgb = prefixes.iter().find_map(|prefix| {
            let colours = [find(prefix, "R")?, find(prefix, "G")?, find(prefix, "B")?].to_vec();
            Some(Self { colours, alpha: find(prefix, "A"), prefix: prefix.clone(), note: None })
        });
        let grey = || {
            prefixes.iter().find_map(|prefix| {
                let colours = vec![find(prefix, "Y")?];
                let note =
                    find(prefix, "RY").map(|_| "its colour differences are left out: shown grey".to_owned());
                Some(Self { colours, alpha: find(prefix, "A"), prefix: prefix.clone(), note })
            })
        };
        rgb.or_else(grey)
    }
}

impl Picture {
    fn of(headers: &[Header]) -> Result<Self> {
        let flat = || headers.iter().enumerate().filter(|(_, header)| !header.deep);
        let found = flat().find_map(|(layer, header)| Some((layer, header, Taken::of(&header.channels)?)));
        let Some((layer, header, taken)) = found else {
            if flat().next().is_none() {
                return Err(unsupported("it has deep pixels"));
            }
            /// Named in an error.
            const SHOWN: usize = 8;
            let names =
                flat().flat_map(|(_, header)| &header.channels.list).map(|channel| channel.name.to_string());
            let names = names.take(SHOWN).collect::<Vec<_>>().join(", ");
            return Err(unsupported(&format!("it has no channels R, G and B, and no Y (but {names})")));
        };
        let mut notes: Vec<String> = taken.note.iter().cloned().collect();
        let name =
            header.own_attributes.layer_name.as_ref().map(ToString::to_string).filter(|_| headers.len() > 1);
        let prefix = taken.prefix.trim_end_matches('.');
        if let Some(name) = name.as_deref().or((!prefix.is_empty()).then_some(prefix)) {
            notes.push(format!("of its layers, \"{name}\" is read"));
        }
        let window = header.shared_attributes.display_window;
        let side =
            |value: usize| u32::try_from(value).map_err(|_| MediaError::too_large("the display window"));
        let size = Size::new(side(window.size.width())?, side(window.size.height())?);
        Ok(Self { layer, taken, size, notes })
    }

    /// Checks both windows, and what decoding takes; tells the bytes that it takes beside the samples.
    fn check(&self, header: &Header, limits: &DecodeLimits) -> Result<u64> {
        if header.channels.list.iter().any(|channel| channel.sampling.0 != 1 || channel.sampling.1 != 1) {
            return Err(unsupported("some of its channels have fewer samples than pixels"));
        }
        let side = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let data = Size::<Image>::new(side(header.layer_size.width()), side(header.layer_size.height()));
        check_limits(data, 0, limits).map_err(|error| error.of_part("its data window"))?;
        // Of a block that is decompressed.
        let block = header.max_block_pixel_size();
        let block_pixels = (block.width().min(data.width as usize) as u64)
            .saturating_mul(block.height().min(data.height as usize) as u64);
        // As stored, as it comes, and in between; of DWA, blocks of floating point for each channel as well.
        let copies = if is_dwa(header) { 10 } else { 3 };
        let block_bytes = block_pixels.saturating_mul(header.channels.bytes_per_pixel as u64);
        let working_bytes = block_bytes.saturating_mul(copies);
        let sample_bytes = self.size.area().saturating_mul(self.taken.samples() as u64 * 4 + 4);
        check_limits(self.size, sample_bytes.saturating_add(working_bytes), limits)?;
        Ok(working_bytes)
    }
}

/// Samples on their way to their places.
struct Planes {
    size: Size<Image>,
    colours: Vec<f32>,
    alpha: Option<Vec<f32>>,
    /// For each channel of the layer what it is, if it is taken.
    roles: Vec<Option<Role>>,
    per_pixel: usize,
    /// Of the data window in the display window.
    offset: [i64; 2],
}

#[derive(Debug, Clone, Copy)]
enum Role {
    Colour(usize),
    Alpha,
}

impl Planes {
    fn new(picture: &Picture, header: &Header) -> Result<Self> {
        let mut roles = vec![None; header.channels.list.len()];
        for (place, &channel) in picture.taken.colours.iter().enumerate() {
            roles[channel] = Some(Role::Colour(place));
        }
        if let Some(channel) = picture.taken.alpha {
            roles[channel] = Some(Role::Alpha);
        }
        let per_pixel = picture.taken.colours.len();
        let pixels = picture.size.area() as usize;
        let (data, display) =
            (header.own_attributes.layer_position, header.shared_attributes.display_window.position);
        let offset =
            [i64::from(data.x()) - i64::from(display.x()), i64::from(data.y()) - i64::from(display.y())];
        let alpha = picture.taken.alpha.map(|_| zeros(pixels)).transpose()?;
        Ok(Self { size: picture.size, colours: zeros(pixels * per_pixel)?, alpha, roles, per_pixel, offset })
    }

    fn take(&mut self, block: &UncompressedBlock, channels: &ChannelList) -> Result<()> {
        for line in block.lines(channels) {
            let at = line.location;
            let (Some(channel), Some(Some(role))) =
                (channels.list.get(at.channel), self.roles.get(at.channel).copied())
            else {
                continue;
            };
            let y = at.position.y() as i64 + self.offset[1];
            let Some(row) = u32::try_from(y).ok().filter(|row| *row < self.size.height) else { continue };
            // What lies outside of the display window is not seen.
            let width = i64::from(self.size.width);
            let left = at.position.x() as i64 + self.offset[0];
            let first = (-left).clamp(0, at.sample_count as i64) as usize;
            let end = (width - left).clamp(first as i64, at.sample_count as i64) as usize;
            let start = row as usize * self.size.width as usize;
            let place = |index: usize| start + (left + index as i64) as usize;
            let sample = |index: usize| -> Option<f32> {
                Some(match channel.sample_type {
                    SampleType::F16 => {
                        f16::from_ne_bytes(*line.value.get(index * 2..)?.first_chunk()?).to_f32()
                    }
                    SampleType::F32 => f32::from_ne_bytes(*line.value.get(index * 4..)?.first_chunk()?),
                    SampleType::U32 => {
                        u32::from_ne_bytes(*line.value.get(index * 4..)?.first_chunk()?) as f32
                    }
                })
            };
            for index in first..end {
                let value =
                    sample(index).ok_or_else(|| MediaError::damaged("a line of its picture is cut short"))?;
                match (role, &mut self.alpha) {
                    (Role::Colour(colour), _) => self.colours[place(index) * self.per_pixel + colour] = value,
                    (Role::Alpha, Some(alpha)) => alpha[place(index)] = value,
                    (Role::Alpha, None) => {}
                }
            }
        }
        Ok(())
    }

    fn into_raw(self, picture: Picture, header: &Header) -> Result<Raw> {
        let mut raw = Raw::new(self.size, self.per_pixel, Samples::Float(self.colours));
        // Some programs write an alpha of nothing beside a plate.
        let alpha = self.alpha.filter(|alpha| alpha.iter().any(|&value| value > 0.0));
        raw.alpha = alpha.map(Samples::Float);
        (raw.is_premultiplied, raw.is_linear) = (true, true);
        raw.primaries = header.shared_attributes.chromaticities.map(|stated| {
            let xy = |at: ::exr::math::Vec2<f32>| [f64::from(at.0), f64::from(at.1)];
            Primaries { lights: [xy(stated.red), xy(stated.green), xy(stated.blue)], white: xy(stated.white) }
        });
        raw.notes = picture.notes;
        Ok(raw)
    }
}

fn unsupported(what: &str) -> MediaError {
    MediaError::new(MediaErrorKind::Unsupported, format!("this kind of OpenEXR is not read here: {what}"))
        .advise(ADVICE)
}

fn library_error(error: LibraryError) -> MediaError {
    let made = match &error {
        LibraryError::NotSupported(what) => unsupported(what),
        LibraryError::Io(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            MediaError::damaged("the file is cut short")
        }
        LibraryError::Io(io) => MediaError::damaged(format!("it cannot be read: {io}")),
        _ => MediaError::damaged(format!("the file is damaged or cut short: {error}")),
    };
    made.caused_by(error.to_string())
}

#[cfg(test)]
mod tests;
