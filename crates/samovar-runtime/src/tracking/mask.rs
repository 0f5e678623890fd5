//! What was found of an object in a frame: its mask, and the logits it was drawn from.

use std::sync::Arc;

use half::f16;
use samovar_geometry::{Image, ResizeRule, Size};
use samovar_media::{AlphaMask, BitMask, Upscaler};

use crate::cleanup::alpha_of_cleaned;
use crate::error::Result;

/// A part of a frame, or of a smaller picture of it: columns from `x0`, rows from `y0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region<F: samovar_geometry::Frame = Image> {
    pub(crate) x0: u32,
    pub(crate) y0: u32,
    pub(crate) size: Size<F>,
}

impl<F: samovar_geometry::Frame> Region<F> {
    /// The whole of it.
    pub(crate) fn whole(frame: Size<F>) -> Self {
        Self { x0: 0, y0: 0, size: frame }
    }

    /// Whether it lies within, and has pixels.
    pub(crate) fn is_within(&self, frame: Size<F>) -> bool {
        let ends = |start: u32, extent: u32, whole: u32| {
            extent > 0 && start.checked_add(extent).is_some_and(|end| end <= whole)
        };
        ends(self.x0, self.size.width, frame.width) && ends(self.y0, self.size.height, frame.height)
    }
}

/// Low-resolution logits over a region, rounded to 16 bits: what is drawn now is drawn again from a file to the bit.
#[derive(Debug, Clone)]
pub(crate) struct RegionLogits {
    pub(crate) region: Region,
    pub(crate) values: Arc<[f16]>,
    upscaler: Arc<Upscaler>,
}

impl RegionLogits {
    /// `values` are those of the grid over the canvas of `rule` that the region is fitted into.
    pub(crate) fn new(region: Region, values: Arc<[f16]>, upscaler: Arc<Upscaler>) -> Self {
        Self { region, values, upscaler }
    }

    /// As a model gave them.
    pub(crate) fn rounded(region: Region, logits: &[f32], upscaler: Arc<Upscaler>) -> Self {
        Self::new(region, logits.iter().map(|&logit| rounded(logit)).collect(), upscaler)
    }

    /// The same with a way to the pixels of the region.
    pub(crate) fn of_record(
        region: Region,
        values: Arc<[f16]>,
        (grid, rule): (Size<samovar_geometry::Grid>, ResizeRule),
    ) -> Result<Self> {
        Ok(Self::new(region, values, Arc::new(Upscaler::new(grid, rule, region.size)?)))
    }

    /// As numbers.
    pub(crate) fn to_f32(&self) -> Vec<f32> {
        self.values.iter().map(|value| value.to_f32()).collect()
    }

    /// Where they are positive, in the frame.
    pub(crate) fn mask(&self, frame: Size<Image>, threads: usize) -> Result<BitMask> {
        let mask = self.upscaler.mask(&self.to_f32(), crate::segmentation::MASK_THRESHOLD, threads)?;
        Ok(match self.region == Region::whole(frame) {
            true => mask,
            false => mask.placed(frame, self.region.x0, self.region.y0),
        })
    }

    /// Soft edges in the frame.
    fn alpha(&self, frame: Size<Image>) -> Result<AlphaMask> {
        let alpha = self.upscaler.prepare(&self.to_f32())?.alpha()?;
        if self.region == Region::whole(frame) {
            return Ok(alpha);
        }
        let mut values = vec![0; frame.area() as usize];
        let width = self.region.size.width as usize;
        for (y, row) in (self.region.y0 as usize..).zip(alpha.values().chunks_exact(width)) {
            let start = y * frame.width as usize + self.region.x0 as usize;
            values[start..start + width].copy_from_slice(row);
        }
        Ok(AlphaMask::from_raw(frame, values)?)
    }

    /// The enlarged logits of a row of the frame, and the column of the first; `None` beside the region.
    #[expect(dead_code, reason = "overlaps are decided row by row")]
    pub(crate) fn row(&self, y: u32) -> Result<Option<(u32, Vec<f32>)>> {
        let Some(y) = y.checked_sub(self.region.y0).filter(|&y| y < self.region.size.height) else {
            return Ok(None);
        };
        let mut row = vec![0.0; self.region.size.width as usize];
        self.upscaler.prepare(&self.to_f32())?.logit_rows(y..y + 1, &mut row)?;
        Ok(Some((self.region.x0, row)))
    }
}

/// The nearest of 16 bits, of the same sign.
fn rounded(logit: f32) -> f16 {
    let near = f16::from_f32(logit.clamp(-60_000.0, 60_000.0));
    if logit > 0.0 && near == f16::ZERO { f16::MIN_POSITIVE_SUBNORMAL } else { near }
}

/// What was found of an object in a frame.
#[derive(Debug, Clone)]
pub struct TrackedMask {
    mask: BitMask,
    /// `None` where somebody drew the mask himself, or nothing was found.
    logits: Option<RegionLogits>,
}

impl TrackedMask {
    pub(crate) fn new(mask: BitMask, logits: Option<RegionLogits>) -> Self {
        Self { mask, logits }
    }

    /// The mask, in the size of the frame.
    pub fn mask(&self) -> &BitMask {
        &self.mask
    }

    /// The mask with soft edges; over 127 where [`TrackedMask::mask`] is set.
    ///
    /// # Errors
    /// [`crate::Error::Media`] when memory runs out.
    pub fn alpha(&self) -> Result<AlphaMask> {
        match &self.logits {
            Some(logits) => alpha_of_cleaned(logits.alpha(self.mask.size())?, &self.mask),
            None => Ok(AlphaMask::from_raw(self.mask.size(), self.mask.to_bytes(255))?),
        }
    }

    pub(crate) fn logits(&self) -> Option<&RegionLogits> {
        self.logits.as_ref()
    }

    /// The same object with another mask, made of this one.
    #[must_use]
    pub(crate) fn with_mask(self, mask: BitMask) -> Self {
        Self { mask, ..self }
    }
}
