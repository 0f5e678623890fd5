//! What was found of an object in a frame: its mask, and the logits it was drawn from.

use std::sync::Arc;

use half::f16;
use samovar_geometry::{Image, ResizeRule, Size};
use samovar_media::{AlphaMask, BitMask, PreparedLogits, Upscaler};

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

    /// Others over the same region, as many.
    pub(crate) fn with_values(&self, logits: &[f32]) -> Self {
        Self::rounded(self.region, logits, Arc::clone(&self.upscaler))
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
        match self.region == Region::whole(frame) {
            true => Ok(mask),
            false => Ok(mask.placed(frame, self.region.x0, self.region.y0)?),
        }
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

    /// The enlarged logits, to be read row by row; `values` are [`RegionLogits::to_f32`]'s.
    pub(crate) fn rows<'a>(&'a self, values: &'a [f32]) -> Result<LogitRows<'a>> {
        let row = vec![f32::NEG_INFINITY; self.region.size.width as usize];
        Ok(LogitRows { region: self.region, prepared: self.upscaler.prepare(values)?, row })
    }
}

/// Enlarged logits, a row at a time.
pub(crate) struct LogitRows<'a> {
    region: Region,
    prepared: PreparedLogits<'a>,
    row: Vec<f32>,
}

impl LogitRows<'_> {
    /// A row of the frame.
    pub(crate) fn row(&mut self, y: u32) -> Result<LogitRow<'_>> {
        let Region { x0, y0, size } = self.region;
        match y.checked_sub(y0).filter(|&y| y < size.height) {
            Some(y) => self.prepared.logit_rows(y..y + 1, &mut self.row)?,
            None => self.row.fill(f32::NEG_INFINITY),
        }
        Ok(LogitRow { x0, values: &self.row })
    }
}

/// Enlarged logits of a row of the frame.
pub(crate) struct LogitRow<'a> {
    x0: u32,
    values: &'a [f32],
}

impl LogitRow<'_> {
    /// That of a pixel; less than all others beside the region.
    pub(crate) fn at(&self, x: u32) -> f32 {
        let at = x.checked_sub(self.x0).and_then(|x| self.values.get(x as usize));
        at.copied().unwrap_or(f32::NEG_INFINITY)
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

    /// The mask, to take pixels from.
    pub(crate) fn mask_mut(&mut self) -> &mut BitMask {
        &mut self.mask
    }

    /// The same object with another mask, made of this one.
    #[must_use]
    pub fn with_mask(self, mask: BitMask) -> Self {
        Self { mask, ..self }
    }
}
