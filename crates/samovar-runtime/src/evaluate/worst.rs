//! The worst answers, kept to be looked at.

use std::sync::Arc;

use samovar_geometry::Size;
use samovar_media::write::{OverlayStyle, draw_overlay};
use samovar_media::{BitMask, RgbImage};

use crate::error::Result;

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
    pub(super) image: Arc<RgbImage>,
    pub(super) truth: BitMask,
    pub(super) found: BitMask,
}

/// Sorts the worst first, clicks before boxes, and keeps at most `most` of each kind. Names settle ties, so that it does
/// not matter in which order pictures were done.
pub(super) fn keep(all: &mut Vec<WorstMask>, most: usize) {
    all.sort_by(|a, b| {
        let names = |one: &WorstMask| (one.picture.clone(), one.mask.clone());
        b.prompt
            .kind()
            .cmp(a.prompt.kind())
            .then(a.iou.total_cmp(&b.iou))
            .then_with(|| names(a).cmp(&names(b)))
    });
    let (mut kind, mut count) = ("", 0);
    all.retain(|one| {
        if one.prompt.kind() != kind {
            (kind, count) = (one.prompt.kind(), 0);
        }
        count += 1;
        count <= most
    });
}

impl WorstMask {
    /// The picture with what was found (blue), what was missed (yellow) and what is too much (magenta), and the prompt in
    /// white.
    ///
    /// # Errors
    /// None: all parts have the picture's size.
    pub fn overlay(&self) -> Result<RgbImage> {
        let (mut hit, mut missed, mut too_much) =
            (self.truth.clone(), self.truth.clone(), self.found.clone());
        hit.intersect_with(&self.found)?;
        missed.subtract(&self.found)?;
        too_much.subtract(&self.truth)?;
        let parts = [&hit, &missed, &too_much];
        let style = OverlayStyle { tint: 0.5, line_width: 1 };
        let drawn = draw_overlay(&self.image, &parts, &style)?;
        let marks = self.marks();
        let size = drawn.size();
        Ok(RgbImage::from_fn(size, |x, y| if marks.get(x, y) { [255; 3] } else { drawn.pixel(x, y) }))
    }

    /// A cross on the click, or the outline of the box.
    fn marks(&self) -> BitMask {
        let size: Size<_> = self.image.size();
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
