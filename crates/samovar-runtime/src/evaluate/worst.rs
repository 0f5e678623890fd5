//! The worst answers, kept to be looked at.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;

use samovar_geometry::{Image, Size};
use samovar_media::segpack::{SegpackLimits, SegpackReader};
use samovar_media::write::{OverlayStyle, draw_overlay};
use samovar_media::{BitMask, RgbImage, Rle};

use crate::error::Result;
use crate::model::Model;
use crate::picture_bytes::{PictureBytes, PictureUse};

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WorstPrompt {
    /// One click, in pixels of the picture.
    Click {
        /// To the right.
        x: u32,
        /// Down.
        y: u32,
    },
    /// A box `[x0, y0, x1, y1]`, in pixels of the picture.
    Box {
        /// Left, top, right, bottom.
        bounds: [f64; 4],
    },
}

impl WorstPrompt {
    /// `click` or `box`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Click { .. } => "click",
            Self::Box { .. } => "box",
        }
    }
}

/// One of the worst answers of a source.
#[derive(Clone)]
pub struct WorstMask {
    /// The source.
    pub source: String,
    /// The picture's name in its source.
    pub picture: String,
    /// Label layer and label, as `0-17`.
    pub mask: String,
    /// What was asked.
    pub prompt: WorstPrompt,
    /// IoU of the answer.
    pub iou: f64,
    /// Where its picture is in the pack.
    pub(super) place: usize,
    pub(super) truth: Rle,
    pub(super) found: Rle,
}

/// Ranked by how bad it is, the least bad the greatest. Names settle ties, so that it does not matter in which order pictures
/// were done.
struct Ranked(WorstMask);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let names = |one: &Self| (one.0.place, one.0.mask.clone());
        self.0.iou.total_cmp(&other.0.iou).then_with(|| names(self).cmp(&names(other)))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

/// The worst answers so far, so many of each source and kind of prompt.
pub(super) struct Worst {
    most: usize,
    /// By source; clicks before boxes.
    kinds: BTreeMap<(String, bool), BinaryHeap<Ranked>>,
}

impl Worst {
    pub(super) fn new(most: usize) -> Self {
        Self { most, kinds: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, one: WorstMask) {
        let is_box = matches!(one.prompt, WorstPrompt::Box { .. });
        let of_kind = self.kinds.entry((one.source.clone(), is_box)).or_default();
        of_kind.push(Ranked(one));
        if of_kind.len() > self.most {
            of_kind.pop();
        }
    }

    /// Source by source, clicks before boxes, the worst first.
    pub(super) fn into_sorted(self) -> Vec<WorstMask> {
        let sorted = self.kinds.into_values().flat_map(BinaryHeap::into_sorted_vec);
        sorted.map(|Ranked(one)| one).collect()
    }
}

/// Draws each of these answers on its picture, which is read from the pack again: what was found (blue), what was missed
/// (yellow) and what is too much (magenta), and the prompt in white. They come in the order of their pictures.
///
/// # Errors
/// [`crate::Error::Media`] or [`crate::Error::File`] when the pack is not what it was, and whatever `each` gives.
pub fn draw_worst<E: From<crate::Error>>(
    worst: &[WorstMask],
    pack: &Path,
    model: &Model,
    mut each: impl FnMut(&WorstMask, &RgbImage) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut order: Vec<&WorstMask> = worst.iter().collect();
    order.sort_by_key(|one| one.place);
    let limits = model.engine().decode_limits();
    let mut order = order.into_iter().peekable();
    if order.peek().is_none() {
        return Ok(());
    }
    let records = SegpackReader::open(pack, SegpackLimits::default()).map_err(crate::Error::from)?;
    for (place, record) in records.enumerate() {
        let record = record.map_err(crate::Error::from)?;
        if order.peek().is_none_or(|one| one.place != place) {
            continue;
        }
        let read = || {
            let metadata = record.metadata(limits)?;
            // Beside what is drawn: the truth, the answer, and in what they differ.
            let needs = PictureBytes::of(&metadata, PictureUse::Overlay);
            Ok((model.reserve(&format!("\"{}\"", record.header.id), &needs)?, record.image(limits)?))
        };
        let (_room, image) = read().map_err(|error: crate::Error| error)?;
        while let Some(one) = order.next_if(|one| one.place == place) {
            each(one, &one.overlay(&image)?)?;
        }
        if order.peek().is_none() {
            return Ok(());
        }
    }
    Err(crate::Error::file(pack, "the pack has changed since it was measured; measure it again").into())
}

impl WorstMask {
    fn overlay(&self, image: &RgbImage) -> Result<RgbImage> {
        let (truth, found) = (self.truth.to_mask()?, self.found.to_mask()?);
        let (mut hit, mut missed, mut too_much) = (truth.clone(), truth.clone(), found.clone());
        hit.intersect_with(&found)?;
        missed.subtract(&found)?;
        too_much.subtract(&truth)?;
        let parts = [&hit, &missed, &too_much];
        let style = OverlayStyle { tint: 0.5, line_width: 1 };
        let drawn = draw_overlay(image, &parts, &style)?;
        let size = drawn.size();
        let marks = self.marks(size);
        Ok(RgbImage::from_fn(size, |x, y| if marks.get(x, y) { [255; 3] } else { drawn.pixel(x, y) }))
    }

    /// A cross on the click, or the outline of the box.
    fn marks(&self, size: Size<Image>) -> BitMask {
        let mut marks = BitMask::new(size);
        match self.prompt {
            WorstPrompt::Click { x, y } => {
                marks.set_run(y, x.saturating_sub(4), x.saturating_add(5));
                (y.saturating_sub(4)..y.saturating_add(5)).for_each(|y| marks.set(x, y, true));
            }
            WorstPrompt::Box { bounds } => {
                let [x0, y0, x1, y1] = bounds.map(|edge| edge as u32);
                let (right, bottom) = (x1.min(size.width - 1), y1.min(size.height - 1));
                marks.set_run(y0, x0, right + 1);
                marks.set_run(bottom, x0, right + 1);
                for y in y0..=bottom {
                    marks.set(x0, y, true);
                    marks.set(right, y, true);
                }
            }
        }
        marks
    }
}

impl std::fmt::Debug for WorstMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { source, picture, mask, prompt, iou, .. } = self;
        write!(f, "WorstMask({source}/{picture}/{mask}, {prompt:?}, IoU {iou:.3})")
    }
}
