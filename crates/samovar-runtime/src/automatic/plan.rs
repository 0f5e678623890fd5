//! Bytes and work of the generator before any of it is done.

use samovar_geometry::{Image, Size};
use samovar_tensor::Cost;

use super::{AutomaticOptions, grid};
use crate::error::Result;
use crate::planning::Planner;

/// Run lengths a mask is taken to have per column of the image: those of two pieces, one above the other. Masks that are
/// all over the image have more, and there are never as many masks as are planned for.
const COUNTS_PER_COLUMN: usize = 4;

/// What [`super::generate`] takes for an image of some size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutomaticPlan {
    /// Crops, the whole image included; each is encoded once.
    pub crops: usize,
    /// Points in all crops together.
    pub points: usize,
    /// Tensors at the worst moment: weights, activations and scratch memory. Exact.
    pub tensor_bytes: usize,
    /// The image and its largest crop, 3 bytes per pixel. Exact.
    pub pixel_bytes: usize,
    /// Bits of the masks that are being measured, one per thread, with what is needed to make them. Exact.
    pub mask_bytes: usize,
    /// Run lengths, if every mask passed and had two pieces in every column: an estimate from above. [`super::generate`]
    /// stops with an error should they ever outgrow the budget.
    pub run_length_bytes: usize,
    /// Arithmetic of encoding the crops and scoring and drawing all points; drawing is rarely needed for all.
    pub cost: Cost,
}

impl AutomaticPlan {
    /// Runs the model on shapes alone. `threads` are those that measure masks (`engine.threads()`).
    ///
    /// # Errors
    /// [`crate::Error::Usage`] for options out of range, [`crate::Error::Model`] when the model finds no masks.
    pub fn of(
        planner: &Planner,
        image: Size<Image>,
        options: &AutomaticOptions,
        threads: usize,
    ) -> Result<Self> {
        options.check()?;
        let crops = grid::crops(image, options.crop_n_layers, options.crop_overlap_ratio);
        let points_of: Vec<usize> =
            (0..=options.crop_n_layers).map(|layer| grid::points(options, layer).len()).collect();
        let points: usize = crops.iter().map(|crop| points_of[crop.layer]).sum();
        let at_once = points_of.iter().copied().max().unwrap_or(0).min(options.points_per_batch).max(1);

        let (encode, decode) = (planner.encode(), planner.score_and_draw(at_once)?);
        let grid_rows = planner.grid_size().map_or(0, |grid| grid.height as usize);
        let encode_cost = encode.cost();
        let decode_cost = decode.cost();
        let batches = points.div_ceil(at_once) as u64;
        let sum = |encode: u64, decode: u64| encode * crops.len() as u64 + decode * batches;
        let cost = Cost {
            operations: sum(encode_cost.operations, decode_cost.operations),
            bytes: sum(encode_cost.bytes, decode_cost.bytes),
        };

        let pixels_of = |size: Size<Image>| size.area() as usize * 3;
        let largest_crop = crops.iter().skip(1).map(|crop| pixels_of(crop.size)).max().unwrap_or(0);
        let words = (image.width as usize).div_ceil(64);
        let words_down = (image.height as usize).div_ceil(64);
        // The mask, its transpose for the run lengths, and the bounds (two f32) of each word's logits.
        let per_mask =
            words * image.height as usize * 8 + words_down * image.width as usize * 8 + words * grid_rows * 8;
        let per_candidate = image.width as usize * COUNTS_PER_COLUMN * size_of::<u32>();
        Ok(Self {
            crops: crops.len(),
            points,
            tensor_bytes: encode.peak_bytes().max(decode.peak_bytes()),
            pixel_bytes: pixels_of(image) + largest_crop,
            mask_bytes: per_mask * threads.max(1),
            run_length_bytes: per_candidate.saturating_mul(points * planner.masks_per_click()),
            cost,
        })
    }

    /// All bytes at the worst moment.
    pub fn peak_bytes(&self) -> usize {
        [self.pixel_bytes, self.mask_bytes, self.run_length_bytes]
            .iter()
            .fold(self.tensor_bytes, |sum, &part| sum.saturating_add(part))
    }
}
