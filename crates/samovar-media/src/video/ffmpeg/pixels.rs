//! Frames of a child's stream: RGB of 8 bits, or of 16 bits that a viewing transform makes 8.

use std::io::Read;

use samovar_geometry::{Image, Size};

use crate::error::Result;
use crate::image::{Clipped, ColourSpace, DecodeLimits, RgbImage, View, check_limits};
use crate::room::{room, zeros};

/// Samples that are in memory with 16 bits at once; the rest of a frame is 8 bits already.
const STRIP_SAMPLES: usize = 3 << 15;

/// What becomes of the samples of a frame.
pub(super) struct Pixels {
    limits: DecodeLimits,
    /// `None`: 8 bits, as they are.
    viewing: Option<Viewing>,
}

/// A viewing transform, and what it has computed for the frame before.
struct Viewing {
    view: View,
    white: u16,
    /// Linear light of every code up to white.
    linear: Vec<f32>,
    strip: Vec<u16>,
}

impl Pixels {
    /// Bytes that a viewing transform holds beside the frame.
    pub(super) const VIEWING_BYTES: u64 =
        (STRIP_SAMPLES * size_of::<u16>() + (1 << 16) * size_of::<f32>()) as u64;

    /// Of frames within the limits, whose values mean this.
    pub(super) fn new(limits: DecodeLimits, space: Option<ColourSpace>) -> Self {
        let view =
            |space| Viewing { view: View::new(space, None), white: 0, linear: Vec::new(), strip: Vec::new() };
        Self { limits, viewing: space.map(view) }
    }

    /// ffmpeg's name for the samples that are read, of this machine's own order of bytes.
    pub(super) fn format(space: Option<ColourSpace>) -> &'static str {
        match space {
            None => "rgb24",
            Some(_) if cfg!(target_endian = "big") => "rgb48be",
            Some(_) => "rgb48le",
        }
    }

    /// The pixels of the frame that comes next, or `None` where the stream ends before. `white` of 16 bits is 1.
    pub(super) fn next(
        &mut self,
        stream: &mut impl Read,
        size: Size<Image>,
        white: u16,
    ) -> Result<Option<RgbImage>> {
        check_limits(size, size.area().saturating_mul(3), &self.limits)?;
        let samples = size.area() as usize * 3;
        let (pixels, clipped) = match &mut self.viewing {
            None => {
                let mut pixels = zeros(samples)?;
                (stream.read_exact(&mut pixels).is_ok().then_some(pixels), Clipped::default())
            }
            Some(viewing) => viewing.next(stream, samples, white)?,
        };
        let Some(pixels) = pixels else { return Ok(None) };
        let image = RgbImage::from_raw(size, pixels)?;
        Ok(Some(clipped.words().into_iter().fold(image, RgbImage::with_note)))
    }
}

impl Viewing {
    fn next(
        &mut self,
        stream: &mut impl Read,
        samples: usize,
        white: u16,
    ) -> Result<(Option<Vec<u8>>, Clipped)> {
        if self.strip.is_empty() {
            self.strip = zeros(STRIP_SAMPLES)?;
        }
        if self.white != white {
            (self.linear, self.white) = (self.view.linear_of_codes(white)?, white);
        }
        let (mut pixels, mut clipped) = (room(samples)?, Clipped::default());
        while pixels.len() < samples {
            let strip = &mut self.strip[..STRIP_SAMPLES.min(samples - pixels.len())];
            if stream.read_exact(bytemuck::cast_slice_mut(strip)).is_err() {
                return Ok((None, clipped));
            }
            clipped = clipped.and(self.view.show_codes(strip, &self.linear, 3, &mut pixels));
        }
        Ok((Some(pixels), clipped))
    }
}

/// White in the 16 bits of RGB that ffmpeg's scaler makes of a decoded format. What the scaler works on has the 8 bits of a screen at the top: YUV
/// in the range of video is stretched to 255 of them, and YUV in the full range, as grey, is shifted up; only RGB of more than 8 bits is
/// stretched to all 16.
pub(super) fn white_of(format: &str, is_full_range: bool) -> u16 {
    let shifted = |bits: u32| u16::MAX << (16 - bits.clamp(8, 16));
    let bits = |rest: &str| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse::<u32>().unwrap_or(8)
    };
    if let Some(planes) = format.strip_prefix("gbrap").or_else(|| format.strip_prefix("gbrp")) {
        // As of floating point (`gbrpf32le`), which is stretched as well.
        return if planes.is_empty() { shifted(8) } else { u16::MAX };
    }
    if ["rgb48", "bgr48", "rgba64", "bgra64", "grayf32", "ya16", "rgbf32", "rgbaf"]
        .iter()
        .any(|name| format.starts_with(name))
    {
        return u16::MAX;
    }
    match (format.strip_prefix("gray"), format.rsplit_once('p')) {
        (Some(rest), _) => shifted(bits(rest)),
        // `yuv420p10le`, and `p010le`.
        (None, Some((_, rest))) if is_full_range => shifted(bits(rest)),
        _ => shifted(8),
    }
}

#[cfg(test)]
mod tests;
