//! What a prompt was answered with: low-resolution logits, and on demand what becomes of them at the image's size.

use std::sync::Arc;

use samovar_media::{AlphaMask, BitMask, Upscaler};
use samovar_tensor::Tensor;

use crate::cleanup::{Cleanup, alpha_of_cleaned};
use crate::error::Result;

/// Logits above this are in the mask.
pub const MASK_THRESHOLD: f32 = 0.0;

/// The answer to one prompt: one mask, or three with `multimask`, in the model's order.
#[derive(Debug, Clone)]
pub struct Segmentation {
    masks: Vec<PredictedMask>,
    best: usize,
}

impl Segmentation {
    /// `masks` must not be empty.
    pub(crate) fn new(masks: Vec<PredictedMask>) -> Self {
        let by_score = |a: &usize, b: &usize| masks[*a].iou_score.total_cmp(&masks[*b].iou_score);
        // Of equal scores the first wins, as numpy's argmax.
        let best = (0..masks.len()).rev().max_by(by_score).unwrap_or(0);
        Self { masks, best }
    }

    /// The mask with the best predicted IoU.
    pub fn best(&self) -> &PredictedMask {
        &self.masks[self.best]
    }

    /// Which of [`Segmentation::masks`] that is.
    pub(crate) fn best_index(&self) -> usize {
        self.best
    }

    /// All masks, in the model's order.
    pub fn masks(&self) -> &[PredictedMask] {
        &self.masks
    }

    /// All masks, the best predicted IoU first.
    pub fn into_ranked(mut self) -> Vec<PredictedMask> {
        self.masks.sort_by(|a, b| b.iou_score.total_cmp(&a.iou_score));
        self.masks
    }
}

/// One predicted mask. Holds its low-resolution logits only; pixels are made when asked for.
#[derive(Clone)]
pub struct PredictedMask {
    /// The model's estimate of the mask's IoU with the object, about 0..1.
    pub iou_score: f32,
    /// `[1, height, width]` of the grid.
    logits: Tensor,
    upscaler: Arc<Upscaler>,
    threads: usize,
    /// What to take out of the mask; nothing for models whose masks are taken as they are.
    cleanup: Option<Arc<Cleanup>>,
}

impl PredictedMask {
    pub(crate) fn new(iou_score: f32, logits: Tensor, upscaler: Arc<Upscaler>, threads: usize) -> Self {
        Self { iou_score, logits, upscaler, threads, cleanup: None }
    }

    pub(crate) fn cleaned(self, cleanup: Option<Arc<Cleanup>>) -> Self {
        Self { cleanup, ..self }
    }

    /// Low-resolution logits, row by row, over the model's whole input square, padding included; the object is where
    /// they are positive. Can be given back as [`crate::MaskPrompt::Logits`].
    ///
    /// # Errors
    /// None with a mask from [`crate::Embedding::segment`].
    pub fn logits(&self) -> Result<&[f32]> {
        Ok(self.logits.f32()?)
    }

    /// The mask at the image's size: where the logits are positive, and for models that clean up (see
    /// [`crate::Model::with_cleanup`]) without stray parts and pinholes.
    ///
    /// # Errors
    /// None with a mask from [`crate::Embedding::segment`].
    pub fn mask(&self) -> Result<BitMask> {
        let mask = self.raw_mask()?;
        Ok(match &self.cleanup {
            None => mask,
            Some(cleanup) => cleanup.apply(&mask),
        })
    }

    /// The mask as the model drew it.
    ///
    /// # Errors
    /// None with a mask from [`crate::Embedding::segment`].
    pub fn raw_mask(&self) -> Result<BitMask> {
        Ok(self.upscaler.mask(self.logits()?, MASK_THRESHOLD, self.threads)?)
    }

    /// The mask with soft edges, two pixels wide; over 127 where [`PredictedMask::mask`] is set.
    ///
    /// # Errors
    /// None with a mask from [`crate::Embedding::segment`].
    pub fn alpha(&self) -> Result<AlphaMask> {
        match self.cleanup {
            None => self.raw_alpha(),
            Some(_) => self.alpha_of(&self.mask()?),
        }
    }

    /// [`PredictedMask::alpha`] for those who have the mask already: it is neither drawn nor cleaned up once more.
    /// `mask` is what [`PredictedMask::mask`] gave.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] for a mask of another size.
    pub fn alpha_of(&self, mask: &BitMask) -> Result<AlphaMask> {
        match self.cleanup {
            None => self.raw_alpha(),
            Some(_) => alpha_of_cleaned(self.raw_alpha()?, mask),
        }
    }

    fn raw_alpha(&self) -> Result<AlphaMask> {
        Ok(self.upscaler.prepare(self.logits()?)?.alpha())
    }
}

impl std::fmt::Debug for PredictedMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (grid, image) = (self.upscaler.grid_size(), self.upscaler.image_size());
        write!(f, "PredictedMask(IoU {:.3}, {grid} logits for an image of {image})", self.iou_score)
    }
}
