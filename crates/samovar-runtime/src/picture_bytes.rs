//! What a picture and its results take of the host's memory, known from its header.

use samovar_geometry::{Image, Size};
use samovar_media::{ImageMetadata, LazyImage};

use crate::error::Result;

/// What is made of a picture at its own size, beside masks as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureUse {
    /// Nothing: it is encoded, and that is all.
    Encoding,
    /// Masks as bits or run lengths.
    Masks,
    /// Outlines of masks, which have as many corners as the masks are ragged.
    Outlines,
    /// Masks with soft edges, a byte a pixel.
    CutOut,
    /// A number for each pixel, two bytes, and the file's samples.
    Labels,
    /// Masks found in crops of the picture, or rid of small regions: a copy of the pixels, or a number for each.
    Crops,
    /// A second picture that masks are drawn on, and its file.
    Overlay,
}

/// What is asked of a picture: what is made of it, and what is found in it without prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureWork {
    /// What is made of it.
    pub made: PictureUse,
    /// Masks of everything in it that are held together, as run lengths; 0 with prompts, whose masks come one by one.
    pub masks_held: usize,
}

impl From<PictureUse> for PictureWork {
    fn from(made: PictureUse) -> Self {
        Self { made, masks_held: 0 }
    }
}

/// Bytes of a mask's run lengths for each pixel of the picture's longest side: nano's masks in photographs have 6 in the mean of a
/// picture, and 8 in one of eight.
const RUN_BYTES_PER_SIDE: usize = 8;

impl PictureWork {
    /// What masks that are found take in a picture of this size, with photographs.
    pub fn found_bytes(self, size: Size<Image>) -> usize {
        self.masks_held.saturating_mul(size.longest_side() as usize).saturating_mul(RUN_BYTES_PER_SIDE)
    }
}

/// What a picture takes of the host's memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureBytes {
    /// Decoding it, at the worst moment.
    pub decoding_bytes: usize,
    /// Its pixels, as long as they are held.
    pub pixel_bytes: usize,
    /// What is made of it, at most.
    pub result_bytes: usize,
    /// The same as it is for most pictures: files of photographs can be compressed.
    pub usual_result_bytes: usize,
}

/// Masks as bits that are there at once: drawn, cleaned up, joined for the file and for the summary, two at work.
fn masks(area: u64) -> u64 {
    (area / 8).saturating_mul(6)
}

/// What is made of a picture of so many pixels, at most; `joins` several masks that are found one after the other.
fn results(area: u64, made: PictureUse, joins: bool) -> u64 {
    let more = match made {
        PictureUse::Encoding => return 0,
        PictureUse::Masks => 0,
        // That of the mask at hand, and the file's; those before, joined.
        PictureUse::CutOut => 2 + u64::from(joins),
        // Measured: masks of noise over photographs of 12 megapixels take 1.4.
        PictureUse::Outlines => 2,
        PictureUse::Labels | PictureUse::Crops => 4,
        // Of a picture that cannot be compressed the file is as large.
        PictureUse::Overlay => 6,
    };
    masks(area).saturating_add(area.saturating_mul(more))
}

/// The same without joining, as bytes of this machine.
pub(crate) fn result_bytes(area: u64, made: PictureUse) -> usize {
    usize::try_from(results(area, made, false)).unwrap_or(usize::MAX)
}

impl PictureBytes {
    /// Of a picture with such a header.
    pub fn of(metadata: &ImageMetadata, work: impl Into<PictureWork>) -> Self {
        let (area, work) = (metadata.size.area(), work.into());
        let (made, found) = (work.made, work.found_bytes(metadata.size) as u64);
        let results_of_all = results(area, made, true).saturating_add(found);
        let usual_results = match made {
            // Measured over photographs of 12 megapixels.
            PictureUse::Overlay => masks(area).saturating_add(area.saturating_mul(37) / 10),
            _ => results(area, made, false),
        };
        let usual_results = usual_results.saturating_add(found / 2);
        let [decoding_bytes, pixel_bytes, result_bytes, usual_result_bytes] =
            [metadata.decoding_bytes, metadata.pixel_bytes, results_of_all, usual_results]
                .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Self { decoding_bytes, pixel_bytes, result_bytes, usual_result_bytes }
    }

    /// What most pictures take at the worst moment.
    pub fn usual_peak_bytes(&self) -> usize {
        self.decoding_bytes.max(self.pixel_bytes.saturating_add(self.usual_result_bytes))
    }

    /// At the worst moment.
    pub fn peak_bytes(&self) -> usize {
        self.decoding_bytes.max(self.pixel_bytes.saturating_add(self.result_bytes))
    }
}

/// Of an image, and its name for messages.
///
/// # Errors
/// [`Error::Media`](crate::Error::Media) when its header cannot be read.
pub(crate) fn of_image(image: &LazyImage, work: impl Into<PictureWork>) -> Result<(PictureBytes, String)> {
    let metadata = image.metadata()?;
    let name =
        image.path().map_or_else(|| "the picture".to_owned(), |path| format!("\"{}\"", path.display()));
    Ok((PictureBytes::of(&metadata, work), format!("{name}, {},", metadata.size)))
}

#[cfg(test)]
mod tests {
    use samovar_media::RgbImage;

    use super::*;

    #[test]
    fn what_is_made_of_a_picture_counts() {
        let pixels = RgbImage::from_fn(Size::new(64, 10), |_, _| [1, 2, 3]);
        let image = LazyImage::from_pixels(pixels);
        let of = |made| of_image(&image, made).unwrap().0;
        let encoding = of(PictureUse::Encoding);
        assert_eq!((encoding.decoding_bytes, encoding.pixel_bytes, encoding.peak_bytes()), (0, 1920, 1920));
        let results = [
            PictureUse::Masks,
            PictureUse::CutOut,
            PictureUse::Labels,
            PictureUse::Crops,
            PictureUse::Overlay,
        ];
        let results = results.map(|made| of(made).peak_bytes() - 1920 - 480);
        assert_eq!(results, [0, 1920, 2560, 2560, 3840]);
    }
}
