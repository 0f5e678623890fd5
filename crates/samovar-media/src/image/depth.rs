//! Samples of more than 8 bits to 8: which range of values a picture uses.
//!
//! A file that states its range is taken at its word. Where it states none, the range is guessed by one rule, and the
//! guess is said:
//!
//! | samples | values | taken as |
//! |---|---|---|
//! | 16 bits, unsigned | largest below 2^n, n the least of 8, 10, 12, 14, 16 | n bits; the low ones are dropped |
//! | floating point | within 0 and 1 | 0 to 1 (the convention; not a guess) |
//! | floating point, signed, 32 bits and more | within 0 and 255, largest above 16 | 0 to 255 |
//! | the same | any others | least to largest |
//!
//! What is no number, infinite, or marked as no data counts for nothing and becomes 0.

use super::colour::{ColourSpace, Primaries, View};
use crate::error::Result;
use crate::room::collected;

/// Samples as a file holds them.
#[derive(Debug)]
pub(super) enum Samples {
    /// 8 bits, or fewer spread over 8.
    Eight(Vec<u8>),
    /// 16 bits, or fewer in 16.
    Sixteen(Vec<u16>),
    /// Floating point.
    Float(Vec<f32>),
    /// Integers that are signed, or of more than 16 bits.
    Integer(Vec<f32>),
}

/// What a file says about the range of its values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stated {
    /// Nothing.
    Nothing,
    /// So many bits are significant.
    Bits(u8),
    /// The value that is black, and the one that is white.
    Range(f32, f32),
    /// So many bits in all frames of a shot; what is beyond is white.
    BitsOfShot(u8),
}

/// The range that all frames of a shot have, guessed from some of them by the rule for one picture: frames of their own ranges would flicker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RangeOfShot {
    bits: u8,
}

impl RangeOfShot {
    /// The range of frames with 16 bits a sample, which do not say how many they use; and the guess in words, if it is one. `largest`: of all
    /// values looked at.
    pub(crate) fn of(largest: u16) -> (Self, Option<String>) {
        let bits = USUAL_BITS.into_iter().find(|&bits| u32::from(largest) < 1 << bits);
        let bits = bits.filter(|_| largest > 0).unwrap_or(16);
        let note = format!(
            "the largest value looked at is {largest} of 65535: all frames are taken as {bits} bits stored in 16"
        );
        (Self { bits }, (bits < 16).then_some(note))
    }

    /// What a frame states, or this in its place; only 16 bits a sample heed it.
    pub(super) fn or_stated(self, stated: Stated) -> Stated {
        if stated == Stated::Nothing { Stated::BitsOfShot(self.bits) } else { stated }
    }
}

/// Bits that cameras and microscopes store in 16.
const USUAL_BITS: [u8; 5] = [8, 10, 12, 14, 16];

/// How a picture is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Viewing {
    /// What its values mean, where somebody says so.
    pub(crate) space: Option<ColourSpace>,
    /// Whether it is a frame of a shot, so that nothing may depend on its values alone.
    pub(crate) is_frame: bool,
}

impl Viewing {
    /// The space that values are shown through; `None` where they are sRGB already, or its rule of ranges has it. `is_linear`: the format's
    /// values are.
    pub(super) fn space_of(&self, samples: &Samples, is_linear: bool) -> Option<ColourSpace> {
        let is_float = matches!(samples, Samples::Float(_));
        match self.space {
            Some(ColourSpace::Srgb) if !is_float => None,
            Some(space) => Some(space),
            None if is_linear || is_float && self.is_frame => Some(ColourSpace::Linear),
            None => None,
        }
    }
}

/// The samples of colours through a viewing transform, as 8 bits of sRGB, with the words for what was cut off. `own`: primaries that the file
/// states for linear light.
pub(super) fn viewed(
    samples: &Samples,
    space: ColourSpace,
    own: Option<Primaries>,
    stated: Stated,
    colours: usize,
    alpha: Option<&[f32]>,
) -> Result<(Vec<u8>, Vec<String>)> {
    let view = View::new(space, own.filter(|_| space == ColourSpace::Linear));
    let (shown, clipped) = match samples {
        Samples::Eight(values) => view.of_integers(values, u16::from(u8::MAX), colours)?,
        Samples::Sixteen(values) => {
            let (bits, _) = bits_of(values, stated);
            view.of_integers(values, ((1u32 << bits) - 1) as u16, colours)?
        }
        Samples::Float(values) | Samples::Integer(values) => view.of_floats(values, colours, alpha)?,
    };
    Ok((shown, clipped.words()))
}

/// The samples as 8 bits; and what was guessed, if anything was. `no_data` is a value that means nothing.
pub(super) fn to_eight_bits(
    samples: Samples,
    stated: Stated,
    no_data: Option<f32>,
) -> Result<(Vec<u8>, Option<String>)> {
    match samples {
        Samples::Eight(values) => Ok((values, None)),
        Samples::Sixteen(values) => sixteen(&values, stated),
        Samples::Float(values) => wide(&values, stated, no_data, true),
        Samples::Integer(values) => wide(&values, stated, no_data, false),
    }
}

fn sixteen(values: &[u16], stated: Stated) -> Result<(Vec<u8>, Option<String>)> {
    let largest = values.iter().copied().max().unwrap_or(0);
    if let Stated::Range(black, white) = stated
        && white > black
        && f32::from(largest) <= white
    {
        let bytes = values.iter().map(|&value| scaled(f32::from(value), black, white));
        return Ok((collected(values.len(), bytes)?, None));
    }
    if let Stated::BitsOfShot(bits) = stated {
        let most = ((1u32 << bits) - 1) as u16;
        let bytes = values.iter().map(|&value| (value.min(most) >> (bits - 8)) as u8);
        return Ok((collected(values.len(), bytes)?, None));
    }
    let (bits, note) = bits_of(values, stated);
    let bytes = values.iter().map(|&value| (value >> (bits - 8)) as u8);
    Ok((collected(values.len(), bytes)?, note))
}

/// How many bits values have; and the guess in words, if it is one.
fn bits_of(values: &[u16], stated: Stated) -> (u8, Option<String>) {
    let largest = values.iter().copied().max().unwrap_or(0);
    let fits = |bits: u8| u32::from(largest) < 1 << bits;
    match stated {
        Stated::BitsOfShot(bits) => (bits, None),
        // Two habits: PNG asks for the significant bits to be spread over all 16, but many leave them low.
        Stated::Bits(bits @ 8..16) => (if fits(bits) { bits } else { 16 }, None),
        _ => match USUAL_BITS.into_iter().find(|&bits| fits(bits)).filter(|_| largest > 0) {
            Some(bits @ 8..16) => {
                let note =
                    format!("its largest value is {largest} of 65535: taken as {bits} bits stored in 16");
                (bits, Some(note))
            }
            _ => (16, None),
        },
    }
}

fn wide(
    values: &[f32],
    stated: Stated,
    no_data: Option<f32>,
    is_float: bool,
) -> Result<(Vec<u8>, Option<String>)> {
    let is_value = |value: f32| value.is_finite() && Some(value) != no_data;
    let (mut least, mut largest, mut count) = (f32::INFINITY, f32::NEG_INFINITY, 0usize);
    for &value in values.iter().filter(|value| is_value(**value)) {
        (least, largest, count) = (least.min(value), largest.max(value), count + 1);
    }
    let mut notes = Vec::new();
    let (black, white) = match stated {
        Stated::Range(black, white) if white > black => (black, white),
        _ if count == 0 => (0.0, 1.0),
        _ if is_float && least >= 0.0 && largest <= 1.0 => (0.0, 1.0),
        _ if least >= 0.0 && (16.0..=255.0).contains(&largest) => {
            notes.push(format!("its values go from {least} to {largest}: taken as 0 to 255"));
            (0.0, 255.0)
        }
        _ => {
            notes.push(format!("its values go from {least} to {largest}: stretched from black to white"));
            (least, largest)
        }
    };
    if count < values.len() {
        notes.push(format!(
            "{} of {} values are no numbers or no data: shown black",
            values.len() - count,
            values.len()
        ));
    }
    let to_byte = |&value: &f32| if is_value(value) { scaled(value, black, white) } else { 0 };
    let bytes = collected(values.len(), values.iter().map(to_byte))?;
    Ok((bytes, (!notes.is_empty()).then(|| notes.join("; "))))
}

/// Black is 0, white 255, to the nearest; what is beyond is cut off. Computed wide: the range of `f32` has no width in it.
fn scaled(value: f32, black: f32, white: f32) -> u8 {
    let (value, black, white) = (f64::from(value), f64::from(black), f64::from(white));
    let share = if white > black { (value - black) / (white - black) } else { 0.0 };
    (share.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

#[cfg(test)]
mod tests;
