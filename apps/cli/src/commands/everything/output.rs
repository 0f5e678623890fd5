//! Automatic masks as the writer of results takes them, and the places of what `everything` writes.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::Result;
use samovar::automatic::{self, AutomaticMask};
use samovar::media::write::{CocoAnnotation, CocoSegmentation};
use samovar::{AlphaMask, BitMask, Rle};

use crate::failure::usage;
use crate::outputs::is_stdout;
use crate::results::{Format, Found, ending_of};

/// The file of a folder's results that has all of them.
pub const MERGED: &str = "annotations.json";

/// A mask while it is written. Its pixels are drawn when they are asked for.
#[derive(Debug)]
pub struct Automatic<'a>(pub &'a AutomaticMask);

impl Found for Automatic<'_> {
    fn mask(&self) -> Result<Cow<'_, BitMask>> {
        Ok(Cow::Owned(self.0.mask.to_mask()?))
    }

    fn rle(&self) -> Result<Cow<'_, Rle>> {
        Ok(Cow::Borrowed(&self.0.mask))
    }

    fn area(&self) -> u64 {
        self.0.area
    }

    fn alpha(&self) -> Result<AlphaMask> {
        Ok(AlphaMask::softened(&self.0.mask.to_mask()?))
    }

    fn annotation(&self, segmentation: CocoSegmentation) -> CocoAnnotation {
        automatic::annotation(self.0, segmentation)
    }
}

/// `masks/photo.json` has its overlay in `masks/photo.overlay.png`.
pub fn overlay_of(document: &Path) -> PathBuf {
    document.with_extension("overlay.png")
}

/// The one asked for, or COCO. `out` is the file for one image.
pub fn format_of(asked: Option<Format>, out: Option<&Path>) -> Result<Format> {
    let picture = ["png", "jpg", "jpeg", "webp", "tif", "tiff", "bmp", "gif"];
    match (asked, out.filter(|out| !is_stdout(out))) {
        (Some(format), Some(out)) => format.check_ending(out).map(|()| format),
        (None, Some(out)) if picture.contains(&ending_of(out).as_str()) => Err(usage(format!(
            "\"{}\": --out takes a .json file, or a folder; for a picture add --format labels or --format overlay",
            out.display()
        ))),
        (asked, _) => Ok(asked.unwrap_or(Format::Coco)),
    }
}
