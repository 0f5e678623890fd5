//! Looking at parts of a frame with a model.

use std::borrow::Cow;
use std::sync::Arc;

use samovar_geometry::{Box2, Image, Motion, Point, Size};
use samovar_media::RgbImage;

use super::appearance::{Appearance, Look, resampled};
use super::asked::Asked;
use super::mask::{Region, RegionLogits, TrackedMask};
use super::patch::{CERTAIN, Patch};
use crate::error::Result;
use crate::model::{Embedding, Model};
use crate::prompt::Prompt;
use crate::segmentation::PredictedMask;

/// Least side of a crop, in pixels of the flow.
pub(super) const LEAST_CROP: f64 = 96.0;

/// A part of a frame that was encoded.
pub(super) struct Seen<'f> {
    pub(super) region: Region,
    pixels: Cow<'f, RgbImage>,
    embedding: Embedding,
}

/// A model that looks at crops.
pub(super) struct Viewer {
    pub(super) model: Model,
}

impl Viewer {
    pub(super) fn see<'f>(&self, frame: &'f RgbImage, region: Region) -> Result<Seen<'f>> {
        let Region { x0, y0, size } = region;
        let pixels = match region == Region::whole(frame.size()) {
            true => Cow::Borrowed(frame),
            false => Cow::Owned(frame.crop(x0, y0, x0 + size.width, y0 + size.height)?),
        };
        Ok(Seen { region, embedding: self.model.embed_pixels(&pixels)?, pixels })
    }

    /// In cells, with what tells them apart.
    pub(super) fn look(&self, seen: &Seen) -> Result<Look> {
        Look::new(&self.model, &seen.pixels, &seen.embedding)
    }

    /// For each cell of the model's grid over a region how much it looks like an object.
    pub(super) fn alike(&self, appearance: &Appearance, seen: &Seen) -> Result<Vec<f32>> {
        let look = self.look(seen)?;
        Ok(resampled(&appearance.of(&look), look.grid(), self.model.grid_size()))
    }

    /// `prompt` is in pixels of the region. The answer is the mean with `other` logits of the same cells, if there are some.
    pub(super) fn ask(
        &self,
        frame: Size<Image>,
        seen: &Seen,
        prompt: &Prompt,
        other: Option<&[f32]>,
    ) -> Result<(TrackedMask, f32)> {
        let (Region { x0, y0, size }, embedding) = (seen.region, &seen.embedding);
        let answer = embedding.segment(prompt)?;
        let best: &PredictedMask = answer.best();
        let upscaler = Arc::clone(embedding.upscaler());
        let logits = match other {
            None => RegionLogits::rounded(seen.region, best.logits()?, upscaler),
            Some(other) => {
                let both = best.logits()?.iter().zip(other);
                let means: Vec<f32> =
                    both.map(|(own, other)| (own.clamp(-CERTAIN, CERTAIN) + other) / 2.0).collect();
                RegionLogits::rounded(seen.region, &means, upscaler)
            }
        };
        let drawn = logits.mask(frame, self.model.engine().threads())?;
        let mask = match best.cleanup() {
            // Its points are in the region.
            Some(cleanup) => cleanup.apply(drawn.cropped(x0, y0, size))?.placed(frame, x0, y0)?,
            None => drawn,
        };
        Ok((TrackedMask::new(mask, Some(logits)), best.iou_score))
    }

    /// The crop so many times as wide and high as bounds, with clicks in it; `None` if nothing of it is in the frame. A pixel of the
    /// flow is `across` by `down` of the frame's.
    pub(super) fn region(
        &self,
        frame: Size<Image>,
        (bounds, (across, down)): (Box2<Motion>, (f64, f64)),
        scale: f64,
        clicks: impl Iterator<Item = Point<Image>>,
    ) -> Option<Region> {
        let Box2 { x0, y0, x1, y1, .. } = bounds;
        let side = (scale * (x1 - x0).max(y1 - y0)).max(LEAST_CROP);
        let (cx, cy) = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
        let mut edges = [
            (cx - side / 2.0) * across,
            (cy - side / 2.0) * down,
            (cx + side / 2.0) * across,
            (cy + side / 2.0) * down,
        ];
        for Point { x, y, .. } in clicks {
            let (near_x, near_y) = (side / 8.0 * across, side / 8.0 * down);
            edges = [
                edges[0].min(x - near_x),
                edges[1].min(y - near_y),
                edges[2].max(x + near_x),
                edges[3].max(y + near_y),
            ];
        }
        let start = |at: f64| at.floor().max(0.0) as u32;
        let end = |at: f64, whole: u32| (at.ceil().max(0.0) as u32).min(whole);
        let (x0, y0) = (start(edges[0]), start(edges[1]));
        let (x1, y1) = (end(edges[2], frame.width), end(edges[3], frame.height));
        (x1 > x0 && y1 > y0).then(|| Region { x0, y0, size: Size::new(x1 - x0, y1 - y0) })
    }

    /// The crop around what a patch has; `None` if it has nothing in the frame.
    pub(super) fn around(&self, frame: Size<Image>, patch: &Patch, scale: f64) -> Option<Region> {
        self.region(frame, (patch.bounds()?, patch.pixels_of(frame)), scale, std::iter::empty())
    }

    /// What was carried, as the model takes it: logits of its grid over a region.
    pub(super) fn prompt_logits(&self, carried: &Patch, frame: Size<Image>, region: Region) -> Vec<f32> {
        carried.on_grid(frame, region, self.model.resize_rule(), self.model.grid_size())
    }

    /// A question about a region.
    pub(super) fn asked(&self, region: Region, logits: Vec<f32>, alike: Option<Vec<f32>>) -> Asked {
        let grid = self.model.grid_size();
        let scale = self.model.resize_rule().grid_from_image(region.size, grid).scale();
        Asked { region, grid, scale, logits, alike }
    }
}
