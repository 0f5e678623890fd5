//! Masks for everything in an image, without a prompt: upstream's `SamAutomaticMaskGenerator`.
//!
//! A grid of points is asked, three masks each; what the model is sure of, what does not change when the threshold
//! moves, and what is not the same thing twice stays. Two things differ from upstream, neither of which shows in the
//! result:
//!
//! - Scores come before masks. The decoder's tokens tell a mask's predicted IoU before any of its pixels exist, so the
//!   masks of most points are never drawn.
//! - Masks become bits in one pass over their low-resolution logits, together with their area, box and stability, and run
//!   lengths right after. Logits of the image's size never exist: upstream has 192 such maps at a time.
//!
//! ```no_run
//! use samovar_runtime::automatic::{self, AutomaticOptions};
//! use samovar_runtime::{Model, media::LazyImage};
//! use std::ops::ControlFlow;
//!
//! let model = Model::load("nano")?;
//! let image = LazyImage::open("photo.jpg").pixels()?;
//! let options = AutomaticOptions::for_model(&model);
//! let masks = automatic::generate(&model, &image, &options, &mut |_| ControlFlow::Continue(()))?;
//! println!("{} masks, the first of {} pixels", masks.len(), masks[0].area);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod crop;
mod document;
mod grid;
mod options;
mod plan;
mod suppress;

use std::ops::ControlFlow;

use samovar_geometry::{Box2, Image, Point};
use samovar_media::{RgbImage, Rle};

use crate::error::{Error, Result};
use crate::model::Model;
use crop::{Candidate, CropRun};

pub use document::{annotations, coco};
pub use grid::Crop;
pub use options::{AutomaticOptions, PARAMETERS, Parameter};
pub use plan::AutomaticPlan;

/// One mask of [`generate`], in the image's frame.
#[derive(Debug, Clone, PartialEq)]
pub struct AutomaticMask {
    /// The mask, in the size of the image.
    pub mask: Rle,
    /// Number of its pixels.
    pub area: u64,
    /// Its box as upstream has it: `x1` and `y1` are the *last* column and row (all zeros for an empty mask, which only
    /// thresholds of 0 let through).
    pub bbox: Box2<Image>,
    /// The model's estimate of the mask's IoU with the object.
    pub predicted_iou: f32,
    /// The point that was asked, in pixels of the image.
    pub point_coords: Point<Image>,
    /// IoU of the masks at a higher and a lower threshold. NaN if both are empty.
    pub stability_score: f32,
    /// The crop the mask was found in, half-open; the whole image without crops.
    pub crop_box: Box2<Image>,
}

/// How many masks each step kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// Masks that were scored: three per point.
    pub candidates: usize,
    /// Those over the predicted IoU.
    pub predicted_iou: usize,
    /// Those of them that are stable.
    pub stability: usize,
    /// Those of them not cut off by a crop's edge.
    pub crop_edge: usize,
    /// Those of them that no better one of their crop covers.
    pub suppression: usize,
}

/// How far [`generate`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The crop under way, from 0; `crops` once all are done.
    pub crop: usize,
    /// Number of crops, the whole image included.
    pub crops: usize,
    /// Points that have been asked, in all crops.
    pub points_done: usize,
    /// Points of all crops.
    pub points: usize,
    /// Masks so far.
    pub stages: Stages,
}

/// Finds the masks of everything in an image, in upstream's order: the best predicted IoU first (with crops: those of
/// smaller crops first; with `min_mask_region_area`: those that were not changed first).
///
/// `progress` is called before each crop is encoded, after each batch of points and at the end; [`ControlFlow::Break`]
/// stops the work.
///
/// # Errors
/// [`Error::Usage`] for options out of range, [`Error::Stopped`] when `progress` said so, [`Error::Model`] and
/// [`Error::DoesNotFit`] when memory runs out.
pub fn generate(
    model: &Model,
    image: &RgbImage,
    options: &AutomaticOptions,
    progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Vec<AutomaticMask>> {
    options.check()?;
    let crops = grid::crops(image.size(), options.crop_n_layers, options.crop_overlap_ratio);
    let grids: Vec<_> = (0..=options.crop_n_layers).map(|layer| grid::points(options, layer)).collect();
    let points = crops.iter().map(|crop| grids[crop.layer].len()).sum();
    let mut state =
        Progress { crop: 0, crops: crops.len(), points_done: 0, points, stages: Stages::default() };
    let mut found: Vec<Candidate> = Vec::new();
    for (index, crop) in crops.iter().enumerate() {
        let before = Progress { crop: index, ..state };
        let mut report = |points_done: usize, stages: Stages| {
            state = Progress { points_done: before.points_done + points_done, stages, ..before };
            if progress(&state).is_break() { Err(Error::Stopped) } else { Ok(()) }
        };
        let held_bytes = found.iter().map(Candidate::size_bytes).sum();
        let run = CropRun { model, image, options, crop: *crop, held_bytes };
        found.extend(run.run(&grids[crop.layer], before.stages, &mut report)?);
    }
    if crops.len() > 1 {
        found = suppress::across_crops(found, options.crop_nms_thresh);
    }
    if options.min_mask_region_area > 0 {
        let threshold = options.box_nms_thresh.max(options.crop_nms_thresh);
        found = suppress::without_small_regions(found, options.min_mask_region_area, threshold);
    }
    state.crop = crops.len();
    // There is nothing left to stop.
    let _ = progress(&state);
    Ok(found.into_iter().map(Candidate::into_mask).collect())
}

#[cfg(test)]
#[path = "automatic/tests.rs"]
mod tests;
