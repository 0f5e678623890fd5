//! A decoded picture as its file holds it, and the upright RGB made of it.

use samovar_geometry::{Image, Size};

use super::colour::Primaries;
use super::depth::{Samples, Stated, Viewing, to_eight_bits, viewed};
use super::rgb::{Orientation, RgbImage};
use crate::error::{MediaError, Result};
use crate::room::zeros;

/// Samples of every depth, with what the file says about them.
#[derive(Debug)]
pub(super) struct Raw {
    /// As stored.
    pub(super) size: Size<Image>,
    /// 1 for grey, 3 for RGB.
    pub(super) colours: usize,
    /// Interleaved.
    pub(super) samples: Samples,
    /// One value a pixel.
    pub(super) alpha: Option<Samples>,
    /// Whether the colours were multiplied by the alpha, which is undone: cut-outs and models take them as they are.
    pub(super) is_premultiplied: bool,
    pub(super) orientation: Orientation,
    /// Range of the colours' values.
    pub(super) stated: Stated,
    /// Whether the format's values are linear light, as OpenEXR's.
    pub(super) is_linear: bool,
    /// Of linear light, where the file states them.
    pub(super) primaries: Option<Primaries>,
    /// The value that means that there is none.
    pub(super) no_data: Option<f32>,
    pub(super) icc_profile: Option<Vec<u8>>,
    /// What the user should know.
    pub(super) notes: Vec<String>,
}

impl Raw {
    pub(super) fn new(size: Size<Image>, colours: usize, samples: Samples) -> Self {
        Self {
            size,
            colours,
            samples,
            alpha: None,
            is_premultiplied: false,
            orientation: Orientation::NoTransforms,
            stated: Stated::Nothing,
            is_linear: false,
            primaries: None,
            no_data: None,
            icc_profile: None,
            notes: Vec::new(),
        }
    }

    /// The largest value of a picture of 16 bits a sample that does not say how many it uses.
    pub(super) fn largest_unstated(&self) -> Option<u16> {
        match &self.samples {
            Samples::Sixteen(values) if self.stated == Stated::Nothing => values.iter().copied().max(),
            _ => None,
        }
    }

    /// 8-bit RGB, upright, with alpha and profile where the file has them.
    pub(super) fn into_rgb(mut self, viewing: Viewing) -> Result<RgbImage> {
        let mut notes = std::mem::take(&mut self.notes);
        let space = viewing.space_of(&self.samples, self.is_linear);
        let (is_viewed, is_float) = (space.is_some(), matches!(self.samples, Samples::Float(_)));
        let (values, said) = match space {
            Some(space) => {
                let alpha = match &self.alpha {
                    Some(Samples::Float(alpha)) if self.is_premultiplied => Some(&alpha[..]),
                    _ => None,
                };
                let primaries = self.primaries.filter(|_| viewing.space.is_none());
                if viewing.space.is_none() && !viewing.is_frame {
                    notes.push("its values are linear light: shown as sRGB".to_owned());
                }
                self.icc_profile = None;
                viewed(&self.samples, space, primaries, self.stated, self.colours, alpha)?
            }
            None => {
                let (values, guess) = to_eight_bits(self.samples, self.stated, self.no_data)?;
                (values, guess.into_iter().collect())
            }
        };
        let mut pixels = match self.colours {
            1 => {
                let mut pixels = zeros(values.len().saturating_mul(3))?;
                pixels.as_chunks_mut::<3>().0.iter_mut().zip(&values).for_each(|(to, &grey)| *to = [grey; 3]);
                pixels
            }
            _ => values,
        };
        // Of an alpha that is viewed, halves round a little beyond 1.
        let range = if is_viewed { Stated::Range(0.0, 1.0) } else { Stated::Nothing };
        let to_alpha = |alpha: Samples| match alpha {
            Samples::Float(_) => Ok::<_, MediaError>(to_eight_bits(alpha, range, None)?.0),
            _ => Ok(to_eight_bits(alpha, Stated::Nothing, None)?.0),
        };
        let alpha = self.alpha.map(to_alpha).transpose()?;
        // What is viewed was divided before it was.
        let is_multiplied = self.is_premultiplied && !(is_viewed && is_float);
        if let Some(alpha) = alpha.as_ref().filter(|_| is_multiplied) {
            divide(&mut pixels, alpha);
            notes.push("its colours were multiplied by its alpha, which is undone".to_owned());
        }
        let mut image = RgbImage::from_raw(self.size, pixels)?;
        if let Some(alpha) = alpha {
            image = image.with_alpha(alpha)?;
        }
        notes.extend(said);
        if let Some(profile) = self.icc_profile.filter(|profile| !profile.is_empty()) {
            match is_of_rgb(&profile) {
                true => image = image.with_icc_profile(profile),
                false => notes.push("its colour profile is not for RGB, and cut-outs do without".to_owned()),
            }
        }
        notes.into_iter().fold(image, RgbImage::with_note).oriented(self.orientation)
    }
}

/// The colours that, multiplied by the alpha, are these; what is transparent throughout stays.
fn divide(pixels: &mut [u8], alpha: &[u8]) {
    for (pixel, &alpha) in
        pixels.chunks_exact_mut(3).zip(alpha).filter(|(_, alpha)| (1..255).contains(*alpha))
    {
        let whole = |value: u8| (u32::from(value) * 255 + u32::from(alpha) / 2) / u32::from(alpha);
        pixel.iter_mut().for_each(|value| *value = whole(*value).min(255) as u8);
    }
}

/// Whether an ICC profile is for RGB: bytes 16 to 20 of its header say so.
fn is_of_rgb(profile: &[u8]) -> bool {
    profile.get(16..20) == Some(b"RGB ")
}
