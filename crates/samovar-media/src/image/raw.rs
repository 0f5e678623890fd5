//! A decoded picture as its file holds it, and the upright RGB made of it.

use samovar_geometry::{Image, Size};

use super::depth::{Samples, Stated, to_eight_bits};
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
    pub(super) fn into_rgb(self) -> Result<RgbImage> {
        let (values, guess) = to_eight_bits(self.samples, self.stated, self.no_data)?;
        let mut pixels = match self.colours {
            1 => {
                let mut pixels = zeros(values.len().saturating_mul(3))?;
                pixels.as_chunks_mut::<3>().0.iter_mut().zip(&values).for_each(|(to, &grey)| *to = [grey; 3]);
                pixels
            }
            _ => values,
        };
        let mut notes = self.notes;
        let to_alpha = |alpha| Ok::<_, MediaError>(to_eight_bits(alpha, Stated::Nothing, None)?.0);
        let alpha = self.alpha.map(to_alpha).transpose()?;
        if let Some(alpha) = alpha.as_ref().filter(|_| self.is_premultiplied) {
            divide(&mut pixels, alpha);
            notes.push("its colours were multiplied by its alpha, which is undone".to_owned());
        }
        let mut image = RgbImage::from_raw(self.size, pixels)?;
        if let Some(alpha) = alpha {
            image = image.with_alpha(alpha)?;
        }
        notes.extend(guess);
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
