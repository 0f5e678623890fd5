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

mod candidate;
mod crop;
mod document;
mod grid;
mod mask;
mod options;
mod plan;
mod progress;
mod suppress;

use std::ops::ControlFlow;

use samovar_media::RgbImage;

use crate::error::{Error, Result};
use crate::model::Model;
use candidate::Candidate;
use crop::CropRun;

pub use document::{annotation, annotations, coco};
pub use grid::Crop;
pub use mask::{AutomaticMask, AutomaticMasks};
pub use options::{AutomaticOptions, PARAMETERS, Parameter};
pub use plan::AutomaticPlan;
pub use progress::{Progress, Stages};

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
) -> Result<AutomaticMasks> {
    generate_in_room(model, image, options, 0, progress)
}

/// [`generate`] for those who have reserved `room_bytes` for the masks that are found, as with [`AutomaticOptions::work`]; what
/// they take beyond that counts as it comes.
///
/// # Errors
/// As there.
pub fn generate_in_room(
    model: &Model,
    image: &RgbImage,
    options: &AutomaticOptions,
    room_bytes: usize,
    progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<AutomaticMasks> {
    options.check()?;
    let crops = grid::crops(image.size(), options.crop_n_layers, options.crop_overlap_ratio);
    let grids: Vec<_> = (0..=options.crop_n_layers).map(|layer| grid::points(options, layer)).collect();
    let points = crops.iter().map(|crop| grids[crop.layer].len()).sum();
    let mut state =
        Progress { crop: 0, crops: crops.len(), points_done: 0, points, stages: Stages::default() };
    let mut found: Vec<Candidate> = Vec::new();
    let mut aside = model.engine().set_aside(crop::MASKS_FOUND, 0)?;
    for (index, crop) in crops.iter().enumerate() {
        let before = Progress { crop: index, ..state };
        let mut report = |points_done: usize, stages: Stages| {
            state = Progress { points_done: before.points_done + points_done, stages, ..before };
            if progress(&state).is_break() { Err(Error::Stopped) } else { Ok(()) }
        };
        let held_bytes = found.iter().map(Candidate::size_bytes).sum();
        let run = CropRun { model, image, options, crop: *crop, held_bytes, room_bytes };
        found.extend(run.run(&grids[crop.layer], before.stages, &mut aside, &mut report)?);
    }
    if crops.len() > 1 {
        found = suppress::across_crops(found, options.crop_nms_thresh);
    }
    if options.min_mask_region_area > 0 {
        let threshold = options.box_nms_thresh.max(options.crop_nms_thresh);
        found = suppress::without_small_regions(found, options.min_mask_region_area, threshold)?;
    }
    state.crop = crops.len();
    // There is nothing left to stop.
    let _ = progress(&state);
    let found_bytes: usize = found.iter().map(Candidate::size_bytes).sum();
    aside.shrink_to(found_bytes.saturating_sub(room_bytes));
    Ok(AutomaticMasks::new(found.into_iter().map(Candidate::into_mask).collect(), aside))
}

#[cfg(test)]
#[path = "automatic/tests.rs"]
mod tests;
